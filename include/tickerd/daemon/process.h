/* What the kernel says of this process (proc(5)). */
#ifndef TICKERD_DAEMON_PROCESS_H
#define TICKERD_DAEMON_PROCESS_H

#include <stdint.h>

/* What cannot be read is 0. */
struct process_figures {
    uint64_t resident, virtual; /* bytes */
    uint64_t cpu_us;            /* of all threads, user and system */
    uint64_t open_fds, max_fds; /* max_fds: the soft limit; 0: none */
};

/* Some system calls; on kernels before 6.2 also a walk over the open files. */
void process_take(struct process_figures *p);

#endif
