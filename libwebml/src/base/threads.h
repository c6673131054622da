/* Short-lived helpers for work before a training: reading tables, decoding pictures. (What a
 * training computes runs on its device's own team.) */
#ifndef WML_BASE_THREADS_H
#define WML_BASE_THREADS_H

#include "base/status.h"

enum { WML_MAX_HELPERS = 16 };

/* Cores this process may run on, at most WML_MAX_HELPERS. */
int wml_helper_count(void);

/* Runs work(arg, helper) on `helpers` threads, helper 0 on the caller's, and waits for all. The
 * first failure by number of helper is returned with its message. Where no thread can be started
 * the others do its share: work must take its pieces from a common counter. */
webml_status wml_parallel(int helpers, webml_status (*work)(void *arg, int helper), void *arg);

#endif
