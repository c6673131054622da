/* A device: one back end opened on one CPU or GPU. */
#ifndef WML_DEVICES_DEVICE_H
#define WML_DEVICES_DEVICE_H

#include "base/status.h"

#include <pthread.h>

enum { WML_N_PRECISIONS = WEBML_MIXED_BFLOAT16 + 1 };

struct webml_device {
  const wml_backend *backend;
  wml_device *handle;
  char name[16];             /* "cpu", "cuda:0", "ref" */
  bool bfloat16;             /* takes WML_MIXED_BFLOAT16 */
  int compute_capability[2]; /* of a GPU; 0 */
  /* train/speed.c: what was measured; all 0 before. */
  pthread_mutex_t speed_mutex;
  webml_speed speed[WML_N_PRECISIONS];
};

/* Bytes of the device's memory that can be allocated; SIZE_MAX when unknown. */
size_t wml_device_available(const webml_device *device);
/* The same of the machine's memory. */
size_t wml_host_available(void);
/* True where the device computes in the machine's memory. */
bool wml_device_shares_memory(const webml_device *device);

/* module.c: the CUDA back end, opened at most once and never closed; NULL: *reason says why (it
 * lives as long as the program). Any thread. */
const wml_backend *wml_cuda_backend(const char **reason);

#endif
