/* Finds and opens libwebml-cuda.so. It is a module of its own, so that the library runs on machines
 * without CUDA, and finds the GPU where there is one. Looked for, in this order: the file that
 * WEBML_CUDA_MODULE names ("none": no CUDA), the folder of the library or program that this code is
 * in, ../lib from there, then where the system looks for libraries. */
#define _GNU_SOURCE /* dladdr */
#include "devices/device.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "libwebml-cuda.so"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const wml_backend *backend;
static char reason[1024] = "libwebml-cuda.so is not installed";

/* False: not this one, look on. */
static bool try_file(const char *path, bool must_exist) {
  if (must_exist && access(path, R_OK) != 0) return false;
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!module) {
    if (must_exist) snprintf(reason, sizeof reason, "%.900s", dlerror());
    return must_exist;
  }
  wml_module_function get;
  void *symbol = dlsym(module, WML_MODULE_SYMBOL);
  memcpy(&get, &symbol, sizeof get);
  backend = get ? get(WML_BACKEND_VERSION) : NULL;
  if (!backend) snprintf(reason, sizeof reason, "%.800s belongs to another version of webml", path);
  return true;
}

static void find_module(void) {
  const char *given = getenv("WEBML_CUDA_MODULE");
  char path[4200];
  Dl_info info;
  if (given && strcmp(given, "none") == 0) {
    snprintf(reason, sizeof reason, "WEBML_CUDA_MODULE=none");
    return;
  }
  if (given && *given) {
    if (!try_file(given, true))
      snprintf(reason, sizeof reason, "WEBML_CUDA_MODULE: there is no file %.900s", given);
    return;
  }
  if (dladdr(reason, &info) && info.dli_fname) {
    const char *slash = strrchr(info.dli_fname, '/');
    int length = slash ? (int)(slash - info.dli_fname) : 1;
    const char *folder = slash ? info.dli_fname : ".";
    snprintf(path, sizeof path, "%.*s/" FILE_NAME, length, folder);
    if (try_file(path, true)) return;
    snprintf(path, sizeof path, "%.*s/../lib/" FILE_NAME, length, folder);
    if (try_file(path, true)) return;
  }
  try_file(FILE_NAME, false);
}

const wml_backend *wml_cuda_backend(const char **why) {
  pthread_once(&once, find_module);
  if (why) *why = backend ? "" : reason;
  return backend;
}
