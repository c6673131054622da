/* A device: one back end opened on one CPU or GPU. */
#ifndef WML_DEVICES_DEVICE_H
#define WML_DEVICES_DEVICE_H

#include "base/status.h"

struct webml_device {
  const wml_backend *backend;
  wml_device *handle;
  const char *name; /* "cpu", "cuda:0", "ref" */
};

/* Bytes that can be allocated before the machine is short; SIZE_MAX when unknown. */
size_t wml_device_available(const webml_device *device);

#endif
