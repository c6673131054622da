/* Programs that the server starts: each in a process of its own, so that what goes wrong in it
 * takes nobody along. */
#ifndef SERVER_JOBS_PROCESS_H
#define SERVER_JOBS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct process_spec {
  char *const
      *arguments; /* [0] is the program's path; ends with NULL; nothing goes through a shell */
  const char *output, *errors; /* files that are written anew; NULL: /dev/null */
  const char *folder;          /* where it runs; NULL: the server's own */
  bool background;             /* lower priority than predictions */
  int kept; /* a descriptor that the process has, too, as its 3; 0: none. What it locks stays locked
               until the process has ended, whoever started it */
} process_spec;

/* The process's id; -1 with a sentence. Its descriptors are standard input (/dev/null), output and
 * errors. */
pid_t process_start(const process_spec *spec, char *error, size_t error_size);
/* Waits until it has ended, and leaves it to process_wait(). 0. */
int process_await(pid_t pid);
/* Waits; the exit code, or 128 + the signal that ended it. */
int process_wait(pid_t pid);

/* The file beside this program: "webml". NULL: it is not there. */
const char *process_beside(const char *name, char *path, size_t size);

#endif
