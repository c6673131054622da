#include "base/status.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 4096 };

static _Thread_local char message[MESSAGE_BYTES];

webml_status wml_fail(webml_status status, const char *format, ...) {
  char text[MESSAGE_BYTES]; /* the arguments may point into the old message */
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  memcpy(message, text, strlen(text) + 1);
  return status;
}

webml_status wml_no_memory(size_t bytes, const char *what) {
  return wml_fail(WEBML_ERROR_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}

webml_status wml_prefix(webml_status status, const char *format, ...) {
  char text[MESSAGE_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text / 2, format, args);
  va_end(args);
  size_t n = strlen(text);
  snprintf(text + n, sizeof text - n, ": %.*s", (int)(sizeof text - n - 3), message);
  memcpy(message, text, strlen(text) + 1);
  return status;
}

webml_status wml_from_result(wml_result result) {
  switch (result) {
  case WML_OK: return WEBML_OK;
  case WML_OUT_OF_MEMORY: return WEBML_ERROR_MEMORY;
  case WML_UNSUPPORTED: return WEBML_ERROR_UNSUPPORTED;
  case WML_INVALID: return WEBML_ERROR_INTERNAL;
  default: return WEBML_ERROR_DEVICE;
  }
}

void wml_clear_error(void) {
  message[0] = '\0';
}

const char *webml_last_error(void) {
  return message;
}

static const char *const names[] = {
#define NAME(symbol, text) text,
    WEBML_STATUSES(NAME)
#undef NAME
};

const char *webml_status_name(webml_status status) {
  size_t n = sizeof names / sizeof *names;
  return (size_t)status < n ? names[status] : "unknown status";
}

static void host_error(const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
}

static void *host_alloc(size_t bytes, size_t alignment) {
  (void)alignment; /* 64 is what any back end asks for */
  return wml_alloc(bytes);
}

const wml_host wml_library_host = {host_alloc, wml_free, host_error, webml_last_error};
