#include "tickerd/daemon/process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tickerd/base/clock.h"

/* `<size> <resident> …` in pages. */
static void take_memory(struct process_figures *p)
{
    char line[128];
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return;
    if (fgets(line, sizeof line, f) != NULL) {
        char *rest;
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        p->virtual = strtoull(line, &rest, 10) * page;
        p->resident = strtoull(rest, NULL, 10) * page;
    }
    (void)fclose(f);
}

static void take_cpu(struct process_figures *p)
{
    struct timespec used;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0)
        p->cpu_us = (uint64_t)used.tv_sec * US_PER_S + (uint64_t)used.tv_nsec / 1000;
}

static uint64_t count_entries(const char *path)
{
    uint64_t count = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        count += e->d_name[0] != '.' ? 1 : 0;
    (void)closedir(dir);
    return count > 0 ? count - 1 : 0; /* less the directory's own */
}

static void take_files(struct process_figures *p)
{
    static const char path[] = "/proc/self/fd";
    struct stat st;
    struct rlimit limit;
    if (stat(path, &st) == 0 && st.st_size > 0) /* since Linux 6.2 their number */
        p->open_fds = (uint64_t)st.st_size;
    else
        p->open_fds = count_entries(path);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        p->max_fds = limit.rlim_cur;
}

void process_take(struct process_figures *p)
{
    memset(p, 0, sizeof *p);
    take_memory(p);
    take_cpu(p);
    take_files(p);
}
