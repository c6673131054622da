/* webml-confined: gives up what a program that reads strangers' files does not need, then becomes
 * that program. A program of its own, since the server has threads, among which nothing of this can
 * be done between fork() and exec(); and since it needs no library, which makes a start cheap.
 *
 *   webml-confined [--read PATH]... [--write PATH]... [--memory N] ... -- PROGRAM [ARGUMENT]... */
#include "steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Every process that is started afterwards has the same limits, too. */
static const char *confine(const confinement *c, const char *program) {
  const char *failed = limit_resources(c);
  if (!failed) failed = drop_privileges();
  if (!failed) failed = restrict_files(c, program);
  if (!failed) failed = restrict_calls(c);
  return failed;
}

int main(int argc, char **argv) {
  confinement c;
  int n = argc > 1 ? confinement_parse(argv + 1, &c) : -1;
  char **program = argv + 1 + n;
  if (n < 0 || !*program) {
    fputs("webml-confined: it is started by webml-server\n", stderr);
    return 2;
  }
  /* The server reads "webml: " as the beginning of a sentence for whoever waits for the program. */
  const char *failed = confine(&c, *program);
  if (failed) {
    fprintf(stderr, "webml: cannot be confined, %s: %s\n", failed, strerror(errno));
    return 126;
  }
  execv(*program, program);
  fprintf(stderr, "webml: cannot start: %s\n", strerror(errno));
  return 127;
}
