/* The system log: one JSON object per line, in files that are rotated by size. Lines are gathered
 * in memory and written by a thread of their own, so that a request costs a copy; what must not be
 * lost is written at once. One log per process; any thread. */
#ifndef SERVER_JOURNAL_H
#define SERVER_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes the folder; goes on with the file that is there. A file that has grown past `file_bytes` is
 * closed and the oldest of more than `files` goes. False with a sentence. */
bool journal_open(const char *folder, size_t file_bytes, int files, char *error, size_t error_size);
/* Writes out what waits. */
void journal_close(void);

/* One line, without its end; copied. `soon`: the writer is woken for it; else it goes with the
 * others, a tenth of a second later at most. Where the disk is too slow or full lines are dropped,
 * and a line says how many. Lines of different threads may stand in
 * another order than they came, by a tenth of a second. Before journal_open() and after
 * journal_close(): to standard error. */
void journal_write(const char *line, size_t size, bool soon);

typedef struct journal_filter {
  const char *event, *outcome, *path; /* NULL: any; path: its beginning */
  int64_t user;                       /* -1: any */
  int64_t since, until;               /* Unix seconds; 0: open */
  int status;                         /* at least this; 0: any, and lines without one */
  int most;                           /* lines */
} journal_filter;

/* The newest lines that pass, the newest first: an array of objects, the caller's. NULL: no memory.
 * Reads files: not for an event loop. */
json_t *journal_read(const journal_filter *filter);

#endif
