/* What a process that reads strangers' files may do. The server writes it down as words of a
 * command line; webml-confined, the launcher, reads them, gives up everything else, and becomes the
 * program. */
#ifndef SERVER_SANDBOX_CONFINEMENT_H
#define SERVER_SANDBOX_CONFINEMENT_H

#include <stdbool.h>
#include <stdint.h>

enum { CONFINEMENT_PATHS = 4, CONFINEMENT_WORDS = 40, CONFINEMENT_NUMBER = 24 };

typedef struct confinement {
  /* Files, or folders with all that is below; the rest NULL. The program itself, libraries, and
   * what a process needs of /proc, /sys and /dev come on top. */
  const char *readable[CONFINEMENT_PATHS], *writable[CONFINEMENT_PATHS];
  const char *closed;   /* a folder: nothing above it is opened up on top; NULL: none */
  uint64_t memory;      /* bytes of its own, without files that it maps; 0: any number */
  uint64_t file_size;   /* bytes of a file that it writes; 0: any number */
  uint64_t cpu_seconds; /* of all its threads together; 0: any number */
  uint64_t seconds;     /* of the clock, even where the server is gone meanwhile; 0: any number */
  bool gpu, network;    /* what it may use */
} confinement;

/* Room for the numbers among the words. */
typedef struct confinement_numbers {
  char text[4][CONFINEMENT_NUMBER];
} confinement_numbers;

/* The words that say it, at most CONFINEMENT_WORDS; how many. They point into both. */
int confinement_words(const confinement *c, confinement_numbers *numbers, const char **words);

/* The reverse, for words that end with NULL or "--"; how many were taken, the "--" among them. -1:
 * they say something else. */
int confinement_parse(char *const *words, confinement *c);

#endif
