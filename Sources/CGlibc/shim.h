// What the GNU C library has and Swift's module of it lacks, because it is declared for _GNU_SOURCE alone.
#ifndef CGLIBC_SHIM_H
#define CGLIBC_SHIM_H
#include <malloc.h>
#include <sys/types.h>
#include <pthread.h>
#include <sched.h>

extern int pthread_setname_np(pthread_t thread, const char *name);
extern int fallocate(int descriptor, int mode, off_t offset, off_t byte_count);
extern int sched_getaffinity(pid_t process, size_t byte_count, cpu_set_t *allowed);

#endif
