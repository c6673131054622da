/* A small test harness: CHECK counts failures, every test program ends with REPORT. */
#ifndef WML_TEST_SUPPORT_H
#define WML_TEST_SUPPORT_H

#include "kernels/backend.h"
#include "webml.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

extern _Atomic int test_failures, test_checks, test_skipped;

void test_check(bool ok, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define CHECK(condition) test_check((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECKF(condition, ...) test_check((condition), __FILE__, __LINE__, __VA_ARGS__)
/* The call must give this status; its message is shown when it does not. */
#define CHECK_STATUS(expected, call)                                                               \
  do {                                                                                             \
    webml_status got_ = (call);                                                                    \
    CHECKF(got_ == (expected), "%s: %s: %s", #call, webml_status_name(got_), webml_last_error());  \
  } while (0)
#define CHECK_OK(call) CHECK_STATUS(WEBML_OK, call)
/* The last error must contain the text. */
#define CHECK_ERROR(text)                                                                          \
  CHECKF(strstr(webml_last_error(), text) != NULL, "expected \"%s\" in \"%s\"", text,              \
         webml_last_error())

void test_skip(const char *what, const char *why);
/* Prints "N passed, N failed, N skipped"; returns the exit code. */
int test_report(void);

/* A deterministic generator of test values. */
typedef struct test_random {
  uint64_t state;
} test_random;
double test_uniform(test_random *r); /* in [0, 1) */
void test_fill(test_random *r, float *x, int64_t n, float low, float high);

/* Largest |a - b| / (1 + |b|); infinite when one is NaN and the other is not. */
double test_difference(const float *a, const float *b, int64_t n);
void *test_alloc(size_t bytes);

#endif
