/* Lines of the system log: one JSON object each. A line is put together member by member on the
 * caller's stack and handed to the journal; what does not fit is cut. Never a secret. */
#ifndef SERVER_CONTEXT_LOG_H
#define SERVER_CONTEXT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct log_line {
  char text[2048];
  size_t size;
} log_line;

/* {"time", "event", "user": what happened, by whom (0: nobody). */
void log_begin(log_line *line, const char *event, int64_t user);
/* "key": a text, which may be anything: what is not UTF-8 becomes "?". NULL: nothing is added. */
void log_put_text(log_line *line, const char *key, const char *value);
void log_put_number(log_line *line, const char *key, int64_t value);
/* "key": milliseconds with three digits behind the point. */
void log_put_milliseconds(log_line *line, const char *key, double seconds);
/* `soon`: written at once, since it must not be lost. */
void log_end(log_line *line, bool soon);

/* The whole of a line that no request belongs to. object, outcome: NULL where there is none. */
void log_event(const char *event, int64_t user, const char *object, const char *outcome);

#endif
