/* Programs that the server starts: each in a process of its own, so that what goes wrong in it
 * takes nobody along. */
#ifndef SERVER_JOBS_PROCESS_H
#define SERVER_JOBS_PROCESS_H

#include "sandbox/confinement.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct process_spec {
  char *const
      *arguments; /* [0] is the program's path; ends with NULL; nothing goes through a shell */
  const char *output, *errors; /* files that are written anew; NULL: /dev/null */
  bool appends;                /* the output is written behind what is there */
  const char *folder;          /* where it runs; NULL: the server's own */
  bool background;             /* lower priority than predictions */
  int kept; /* a descriptor that the process has, too, as its 3; 0: none. What it locks stays locked
               until the process has ended, whoever started it */
  const confinement *confinement; /* NULL: none; else the program is started by webml-confined */
  const char *const *variables;   /* "NAME=value" of its environment, ends with NULL; NULL: none */
} process_spec;

enum { PROCESS_MOST_ARGUMENTS = 80 };

/* The process's id; -1 with a sentence. Its descriptors are standard input (/dev/null), output and
 * errors. A confined one has of the server's environment what its libraries read. */
pid_t process_start(const process_spec *spec, char *error, size_t error_size);
/* Waits until it has ended, and leaves it to process_wait(). False: it runs still after so many
 * seconds; 0: waits for ever. */
bool process_await(pid_t pid, uint64_t seconds);
/* Exit codes of what could not be started, with a sentence among its errors. */
enum { PROCESS_NOT_CONFINED = 126, PROCESS_NOT_STARTED = 127 };
/* Waits; the exit code, or 128 + the signal that ended it. */
int process_wait(pid_t pid);

/* The file beside this program: "webml". NULL: it is not there. */
const char *process_beside(const char *name, char *path, size_t size);

#endif
