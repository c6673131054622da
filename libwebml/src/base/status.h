/* Statuses with one sentence that says why, kept per thread for webml_last_error(). */
#ifndef WML_BASE_STATUS_H
#define WML_BASE_STATUS_H

#include "kernels/backend.h"
#include "webml.h"

/* Sets the message and returns the status. */
webml_status wml_fail(webml_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
webml_status wml_no_memory(size_t bytes, const char *what);
/* Puts "prefix: " before the message of a call that has failed. */
webml_status wml_prefix(webml_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A back end's result; it has set the message through the host's error(). */
webml_status wml_from_result(wml_result result);
void wml_clear_error(void);

/* What the library lends to back ends. */
extern const wml_host wml_library_host;

#define WML_TRY(call)                                                                              \
  do {                                                                                             \
    webml_status try_status = (call);                                                              \
    if (try_status != WEBML_OK) return try_status;                                                 \
  } while (0)

#endif
