/* Preloaded: time() is 61 seconds ahead as soon as the file WEBML_CLOCK_AHEAD is there. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

__attribute__((visibility("default"))) time_t time(time_t *out) {
  struct timespec now;
  const char *file = getenv("WEBML_CLOCK_AHEAD");
  clock_gettime(CLOCK_REALTIME, &now);
  if (file && access(file, F_OK) == 0) now.tv_sec += 61;
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
