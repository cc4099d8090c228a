/* What is written to stderr. */
#ifndef TICKERD_TESTS_CAPTURE_H
#define TICKERD_TESTS_CAPTURE_H

/* From now on stderr goes to an unnamed file. */
void capture_start(void);

/* What was written since, as a string that lives until the next one. */
char *capture_end(void);

void capture_forget(void);

#endif
