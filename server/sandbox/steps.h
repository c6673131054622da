/* The steps by which the launcher confines itself, in this order. Each returns NULL, or what has
 * failed, with errno. What the kernel does not have is left out and no failure. */
#ifndef SERVER_SANDBOX_STEPS_H
#define SERVER_SANDBOX_STEPS_H

#include "confinement.h"

/* Sanitizers map terabytes, start again without address randomisation, and stop their own process
 * with ptrace() to look for leaks: builds with them have no limit on memory, and may do those. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { STEPS_SANITIZED = true };
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
enum { STEPS_SANITIZED = true };
#else
enum { STEPS_SANITIZED = false };
#endif
#else
enum { STEPS_SANITIZED = false };
#endif

/* Resource limits, the clock, and what the system kills first when memory is short. */
const char *limit_resources(const confinement *c);
/* no_new_privs; no capabilities, also where the server is root's. */
const char *drop_privileges(void);
/* Landlock: files, connections, and signals to others. program: its path. */
const char *restrict_files(const confinement *c, const char *program);
/* seccomp: system calls that such a program never makes. */
const char *restrict_calls(const confinement *c);

#endif
