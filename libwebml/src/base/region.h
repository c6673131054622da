/* A large array that is written once and read often: in memory, or in a file without a name that is
 * mapped, so that the machine can give its memory to others and take it back. */
#ifndef WML_BASE_REGION_H
#define WML_BASE_REGION_H

#include "base/status.h"

typedef struct wml_region {
  uint8_t *bytes; /* 64-byte aligned */
  size_t size;
  int fd; /* where it is written through; -1: in memory */
  bool mapped;
  size_t skip; /* bytes of the mapping before `bytes` */
} wml_region;

/* In `folder` where the size is large and folder is not NULL; else in memory. */
webml_status wml_region_create(size_t size, const char *folder, const char *what, wml_region *r);
/* Bytes that it takes of the machine's memory; 0: it is in a file. */
size_t wml_region_memory(size_t size, const char *folder);
webml_status wml_region_write(wml_region *r, const void *bytes, size_t n, size_t offset);
/* Bytes [offset, offset + size) of a file, read only; fd stays the caller's. */
webml_status wml_region_map(int fd, size_t offset, size_t size, const char *name, wml_region *r);
void wml_region_free(wml_region *r);

#endif
