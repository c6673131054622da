#include "support.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <stdatomic.h>

atomic_int test_failures, test_checks, test_skipped; /* threads check too */

void test_check(bool ok, const char *file, int line, const char *format, ...) {
  test_checks++;
  if (ok) return;
  test_failures++;
  fprintf(stderr, "%s:%d: failed: ", file, line);
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
}

void test_skip(const char *what, const char *why) {
  test_skipped++;
  printf("SKIP %s: %s\n", what, why);
}

int test_report(void) {
  printf("%d passed, %d failed, %d skipped\n", test_checks - test_failures, test_failures,
         test_skipped);
  if (test_checks == 0 && test_skipped > 0) return 77;
  return test_failures || test_checks == 0 ? 1 : 0;
}

double test_uniform(test_random *r) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (double)(r->state >> 11) / 9007199254740992.0;
}

void test_fill(test_random *r, float *x, int64_t n, float low, float high) {
  for (int64_t i = 0; i < n; i++) x[i] = low + (high - low) * (float)test_uniform(r);
}

double test_difference(const float *a, const float *b, int64_t n) {
  double most = 0.0;
  for (int64_t i = 0; i < n; i++) {
    if (isnan(a[i]) != isnan(b[i])) return INFINITY;
    if (isnan(a[i]) || a[i] == b[i]) continue;
    double d = fabs((double)a[i] - (double)b[i]) / (1.0 + fabs((double)b[i]));
    if (!(d <= most)) most = d;
  }
  return most;
}

void *test_alloc(size_t bytes) {
  void *p = calloc(1, bytes ? bytes : 1);
  if (!p) {
    fprintf(stderr, "the test is out of memory\n");
    exit(1);
  }
  return p;
}
