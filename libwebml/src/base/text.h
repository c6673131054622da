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

/* Bytes of the UTF-8 sequence at s, 0 when it is not one (overlong, surrogate, too large, cut off).
 */
size_t wml_utf8_length(const char *s, size_t left);

/* The name among `names` that is closest to `word` when it is close enough to be meant; or NULL. */
const char *wml_suggest(const char *word, const char *const *names, size_t n);

#endif
