/* Growing text, JSON writing, and the suggestion of a word that was meant. */
#ifndef WML_BASE_TEXT_H
#define WML_BASE_TEXT_H

#include "base/alloc.h"
#include "webml.h"

#include <stdbool.h>

/* On failure of memory `failed` stays set and further calls do nothing: check once at the end. */
typedef struct wml_text {
  char *data; /* NUL-terminated once something was added; owned: wml_free() */
  size_t length, capacity;
  bool failed;
} wml_text;

void wml_text_add(wml_text *text, const char *bytes, size_t length);
void wml_text_string(wml_text *text, const char *string);
void wml_text_format(wml_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void wml_text_free(wml_text *text);
/* Hands the text to the caller of a public function (webml_free() frees it). */
webml_status wml_text_take(wml_text *text, char **out);

/* JSON: a comma is put before a value or key where one is needed. */
void wml_json_open(wml_text *text, char bracket);
void wml_json_close(wml_text *text, char bracket);
void wml_json_key(wml_text *text, const char *key);
void wml_json_string(wml_text *text, const char *string);
void wml_json_string_n(wml_text *text, const char *string, size_t length);
void wml_json_int(wml_text *text, long long value);
/* Shortest form that reads back as the same double; null where it is not finite. */
void wml_json_number(wml_text *text, double value);
void wml_json_bool(wml_text *text, bool value);
void wml_json_null(wml_text *text);
/* An already serialised value. */
void wml_json_raw(wml_text *text, const char *json);

/* The shortest decimal that reads back as the same double, whatever the locale. */
enum { WML_NUMBER_BYTES = 40 };
char *wml_format_number(double value, char buffer[WML_NUMBER_BYTES]);
/* Parses a whole decimal number ([+-]digits[.digits][e[+-]digits]), whatever the locale. */
bool wml_parse_number(const char *text, size_t length, double *value);
/* The plain ones among them, which are most: a sign, up to 15 digits, a point. They are exact as a
 * quotient of two doubles. whole: without a point. False for all others. */
static inline bool wml_plain_number(const char *s, size_t n, double *value, bool *whole) {
  static const double tens[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  if (n == 0 || n > 17) return false;
  size_t i = s[0] == '-' || s[0] == '+', begin = i;
  uint64_t mantissa = 0;
  for (; i < n && (unsigned)(s[i] - '0') < 10; i++)
    mantissa = mantissa * 10 + (unsigned)(s[i] - '0');
  size_t digits = i - begin, places = 0;
  *whole = i == n;
  if (i < n) {
    if (s[i++] != '.') return false;
    size_t point = i;
    for (; i < n && (unsigned)(s[i] - '0') < 10; i++)
      mantissa = mantissa * 10 + (unsigned)(s[i] - '0');
    places = i - point;
    digits += places;
  }
  if (i != n || digits == 0 || digits > 15) return false;
  double v = (double)mantissa;
  if (places) v /= tens[places];
  *value = s[0] == '-' ? -v : v;
  return true;
}

/* Bytes of the UTF-8 sequence at s, 0 when it is not one (overlong, surrogate, too large, cut off).
 */
size_t wml_utf8_length(const char *s, size_t left);

/* The name among `names` that is closest to `word` when it is close enough to be meant; or NULL. */
const char *wml_suggest(const char *word, const char *const *names, size_t n);

#endif
