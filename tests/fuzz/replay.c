/* A main for fuzz targets where there is no libFuzzer: each file named, and each file of each
 * folder named, goes through the target once. The last line says how many; none is a failure. */
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

#pragma weak LLVMFuzzerInitialize

/* The sanitizers end the process by themselves; this is their way to say so before. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static char *running; /* the file that is being run */
static size_t inputs;

static void name_the_input(void)
{
    static const char before[] = "\nthe input is ";
    if (running == NULL)
        return;
    (void)!write(STDERR_FILENO, before, sizeof before - 1);
    (void)!write(STDERR_FILENO, running, strlen(running));
    (void)!write(STDERR_FILENO, "\n", 1);
}

static void on_abort(int signal)
{
    (void)signal;
    name_the_input();
}

static void die(const char *path, const char *what)
{
    (void)fflush(stdout);
    (void)fprintf(stderr, "%s: ", path);
    perror(what);
    exit(1);
}

static void run_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "rbe");
    uint8_t *data = malloc(size);
    if (f == NULL || (data == NULL && size > 0) || fread(data, 1, size, f) != size)
        die(path, "cannot be read");
    (void)fclose(f);
    free(running);
    running = strdup(path);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    inputs++;
}

static void run(const char *path);

static int visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static void run_folder(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, visible, alphasort);
    if (count < 0)
        die(path, "cannot be listed");
    for (int i = 0; i < count; i++) {
        char *file = NULL;
        if (asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0)
            abort();
        run(file);
        free(file);
        free(entries[i]);
    }
    free(entries);
}

static void run(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0)
        die(path, "cannot be used");
    if (S_ISDIR(st.st_mode))
        run_folder(path);
    else
        run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    (void)signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(name_the_input);
    if (LLVMFuzzerInitialize != NULL)
        (void)LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        run(argv[i]);
    free(running);
    running = NULL;
    printf("%s: %zu inputs\n", slash == NULL ? argv[0] : slash + 1, inputs);
    return inputs == 0;
}
