#include "log.h"

#include "journal/journal.h"

#include <jansson.h>
#include <string.h>
#include <time.h>

static void put_raw(log_line *l, const char *text, size_t n) {
  if (n > sizeof l->text - l->size) n = sizeof l->text - l->size;
  memcpy(l->text + l->size, text, n);
  l->size += n;
}

static bool is_plain(char c) {
  return c >= 32 && c < 127 && c != '"' && c != '\\';
}

static bool is_utf8(const char *text) {
  json_t *value = json_string(text); /* checks it */
  json_decref(value);
  return value != NULL;
}

static void put_key(log_line *l, const char *key) {
  put_raw(l, ",\"", 2);
  put_raw(l, key, strlen(key));
  put_raw(l, "\":", 2);
}

void log_put_text(log_line *l, const char *key, const char *value) {
  enum { MOST = 400 };
  static const char digits[] = "0123456789abcdef";
  if (!value) return;
  size_t n = strlen(value);
  int broken = -1; /* looked at with the first byte that is not ASCII */
  put_key(l, key);
  put_raw(l, "\"", 1);
  if (n > MOST) /* cut between characters */
    for (n = MOST; n && ((unsigned char)value[n] & 0xC0) == 0x80;) n--;
  for (size_t i = 0; i < n; i++) {
    size_t plain = i;
    while (plain < n && is_plain(value[plain])) plain++;
    put_raw(l, value + i, plain - i);
    if ((i = plain) == n) break;
    unsigned char c = (unsigned char)value[i];
    if (c == '"' || c == '\\')
      put_raw(l, (char[]){'\\', (char)c}, 2);
    else if (c < 32)
      put_raw(l, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
    else {
      if (broken < 0) broken = !is_utf8(value);
      put_raw(l, broken ? "?" : value + i, 1);
    }
  }
  put_raw(l, "\"", 1);
}

static void put_digits(log_line *l, uint64_t value, int at_least) {
  char text[24], *p = text + sizeof text;
  do {
    *--p = (char)('0' + value % 10);
    value /= 10;
  } while (value || text + sizeof text - p < at_least);
  put_raw(l, p, (size_t)(text + sizeof text - p));
}

void log_put_number(log_line *l, const char *key, int64_t value) {
  put_key(l, key);
  if (value < 0) put_raw(l, "-", 1);
  put_digits(l, value < 0 ? -(uint64_t)value : (uint64_t)value, 1);
}

void log_put_milliseconds(log_line *l, const char *key, double seconds) {
  double us = seconds * 1e6;
  log_put_number(l, key, (int64_t)us / 1000);
  put_raw(l, ".", 1);
  put_digits(l, (uint64_t)us % 1000, 3);
}

/* The calendar is looked at once a second. */
static void put_time(log_line *l) {
  static _Thread_local time_t second;
  static _Thread_local char text[32];
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (t.tv_sec != second) {
    struct tm tm;
    second = t.tv_sec;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&second, &tm));
  }
  put_raw(l, "{\"time\":\"", 9);
  put_raw(l, text, strlen(text));
  put_raw(l, ".", 1);
  put_digits(l, (uint64_t)t.tv_nsec / 1000000, 3);
  put_raw(l, "Z\"", 2);
}

void log_begin(log_line *l, const char *event, int64_t user) {
  l->size = 0;
  put_time(l);
  log_put_text(l, "event", event);
  log_put_number(l, "user", user);
}

void log_end(log_line *l, bool soon) {
  put_raw(l, "}", 1);
  journal_write(l->text, l->size, soon);
}

void log_event(const char *event, int64_t user, const char *object, const char *outcome) {
  log_line l;
  log_begin(&l, event, user);
  log_put_text(&l, "object", object);
  log_put_text(&l, "outcome", outcome);
  log_end(&l, true);
}
