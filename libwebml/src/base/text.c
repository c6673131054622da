#include "base/text.h"

#include "base/status.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(wml_text *t, size_t more) {
  if (t->failed) return false;
  if (t->data && t->capacity - t->length > more) return true;
  size_t capacity = (t->length + more + 1) * 2 + 64;
  char *data = wml_regrow(t->data, t->length, capacity);
  if (!data) {
    t->failed = true;
    return false;
  }
  t->data = data;
  t->capacity = capacity;
  return true;
}

void wml_text_add(wml_text *t, const char *bytes, size_t length) {
  if (!reserve(t, length)) return;
  if (length) memcpy(t->data + t->length, bytes, length);
  t->length += length;
  t->data[t->length] = '\0';
}

void wml_text_string(wml_text *t, const char *string) {
  wml_text_add(t, string, strlen(string));
}

void wml_text_format(wml_text *t, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n >= 0 && reserve(t, (size_t)n)) {
    vsnprintf(t->data + t->length, (size_t)n + 1, format, again);
    t->length += (size_t)n;
  }
  va_end(again);
}

void wml_text_free(wml_text *t) {
  wml_free(t->data);
  *t = (wml_text){0};
}

webml_status wml_text_take(wml_text *t, char **out) {
  if (t->failed || !t->data) {
    size_t length = t->length;
    wml_text_free(t);
    return wml_no_memory(length, "a text");
  }
  *out = t->data;
  *t = (wml_text){0};
  return WEBML_OK;
}

static void separate(wml_text *t) {
  char last = t->length ? t->data[t->length - 1] : '[';
  if (last != '[' && last != '{' && last != ':') wml_text_add(t, ",", 1);
}

void wml_json_open(wml_text *t, char bracket) {
  separate(t);
  wml_text_add(t, &bracket, 1);
}

void wml_json_close(wml_text *t, char bracket) {
  wml_text_add(t, &bracket, 1);
}

static void quoted(wml_text *t, const char *s, size_t n) {
  wml_text_add(t, "\"", 1);
  for (size_t i = 0, from = 0; i <= n; i++) {
    unsigned char c = i < n ? (unsigned char)s[i] : '"';
    if (i < n && c >= 0x20 && c != '"' && c != '\\') continue;
    wml_text_add(t, s + from, i - from);
    from = i + 1;
    if (i == n) break;
    if (c == '"' || c == '\\')
      wml_text_format(t, "\\%c", c);
    else if (c == '\n')
      wml_text_add(t, "\\n", 2);
    else
      wml_text_format(t, "\\u%04x", c);
  }
  wml_text_add(t, "\"", 1);
}

void wml_json_key(wml_text *t, const char *key) {
  separate(t);
  quoted(t, key, strlen(key));
  wml_text_add(t, ":", 1);
}

void wml_json_string_n(wml_text *t, const char *string, size_t length) {
  separate(t);
  quoted(t, string, length);
}

void wml_json_string(wml_text *t, const char *string) {
  wml_json_string_n(t, string, strlen(string));
}

void wml_json_int(wml_text *t, long long value) {
  separate(t);
  wml_text_format(t, "%lld", value);
}

char *wml_format_number(double value, char buffer[WML_NUMBER_BYTES]) {
  if (value == floor(value) && fabs(value) < 1e15) {
    snprintf(buffer, WML_NUMBER_BYTES, "%.0f", value);
    return buffer;
  }
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(buffer, WML_NUMBER_BYTES, "%.*g", digits, value);
    if (strtod(buffer, NULL) == value) break;
  }
  const char *point = localeconv()->decimal_point;
  char *at = point && strcmp(point, ".") != 0 ? strstr(buffer, point) : NULL;
  if (at) {
    size_t n = strlen(point);
    *at = '.';
    memmove(at + 1, at + n, strlen(at + n) + 1);
  }
  return buffer;
}

void wml_json_number(wml_text *t, double value) {
  char buffer[WML_NUMBER_BYTES];
  separate(t);
  if (isfinite(value))
    wml_text_string(t, wml_format_number(value, buffer));
  else
    wml_text_add(t, "null", 4);
}

void wml_json_bool(wml_text *t, bool value) {
  separate(t);
  wml_text_string(t, value ? "true" : "false");
}

void wml_json_null(wml_text *t) {
  separate(t);
  wml_text_add(t, "null", 4);
}

void wml_json_raw(wml_text *t, const char *json) {
  separate(t);
  wml_text_string(t, json);
}

static size_t digits_from(const char *s, size_t i, size_t n) {
  while (i < n && s[i] >= '0' && s[i] <= '9') i++;
  return i;
}

/* Checks the form, then lets strtod round correctly, with the locale's own decimal point. */
bool wml_parse_number(const char *s, size_t n, double *value) {
  bool whole_number;
  if (wml_plain_number(s, n, value, &whole_number)) return true;
  size_t i = 0;
  if (i < n && (s[i] == '+' || s[i] == '-')) i++;
  size_t whole = digits_from(s, i, n), point = whole, after = whole;
  if (point < n && s[point] == '.') after = digits_from(s, point + 1, n);
  size_t digits = (whole - i) + (after > point ? after - point - 1 : 0);
  if (digits == 0) return false;
  size_t end = after > point ? after : whole;
  if (end < n && (s[end] == 'e' || s[end] == 'E')) {
    size_t sign = end + 1;
    if (sign < n && (s[sign] == '+' || s[sign] == '-')) sign++;
    size_t last = digits_from(s, sign, n);
    if (last == sign) return false;
    end = last;
  }
  if (end != n) return false;
  char buffer[512];
  if (n >= sizeof buffer - 8) return false;
  const char *local = localeconv()->decimal_point;
  size_t local_length = local && *local ? strlen(local) : 1, k = 0;
  for (size_t j = 0; j < n; j++) {
    if (s[j] != '.')
      buffer[k++] = s[j];
    else if (local_length < 4)
      memcpy(buffer + k, local && *local ? local : ".", local_length), k += local_length;
  }
  buffer[k] = '\0';
  *value = strtod(buffer, NULL);
  return true;
}

size_t wml_utf8_length(const char *text, size_t left) {
  const unsigned char *s = (const unsigned char *)text;
  if (s[0] < 0x80) return 1;
  size_t n = s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : s[0] >= 0xE0 ? 3 : s[0] >= 0xC2 ? 2 : 0;
  if (s[0] >= 0xF5 || n == 0 || n > left) return 0;
  for (size_t i = 1; i < n; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
      (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
    return 0;
  return n;
}

/* Levenshtein distance where a swap of neighbours counts one; words of up to 63 bytes. */
static size_t distance(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b), row[3][64];
  if (n > 63 || m > 63) return 99;
  for (size_t j = 0; j <= m; j++) row[1][j] = j;
  for (size_t i = 1; i <= n; i++) {
    size_t *now = row[(i + 1) % 3], *up = row[i % 3], *upper = row[(i + 2) % 3];
    now[0] = i;
    for (size_t j = 1; j <= m; j++) {
      size_t same = tolower((unsigned char)a[i - 1]) == tolower((unsigned char)b[j - 1]) ? 0 : 1;
      size_t best = up[j - 1] + same;
      if (up[j] + 1 < best) best = up[j] + 1;
      if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && upper[j - 2] + 1 < best)
        best = upper[j - 2] + 1;
      now[j] = best;
    }
  }
  return row[(n + 1) % 3][m];
}

const char *wml_suggest(const char *word, const char *const *names, size_t n) {
  const char *best = NULL;
  size_t least = strlen(word) / 3 + 2;
  for (size_t i = 0; i < n; i++) {
    size_t d = distance(word, names[i]);
    size_t length = strlen(word);
    bool begins = length >= 3 && strncmp(word, names[i], length) == 0; /* an abbreviation */
    if (begins && d > 1) d = 1;
    if (d < least) least = d, best = names[i];
  }
  return best;
}
