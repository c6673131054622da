#include "base/region.h"

#include "base/alloc.h"
#include "base/cachefile.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const size_t in_file_from = (size_t)1 << 27;

static webml_status map(int fd, size_t offset, size_t size, const char *name, wml_region *r) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = offset % page;
  void *at = mmap(NULL, size + skip, PROT_READ, MAP_SHARED, fd, (off_t)(offset - skip));
  if (at == MAP_FAILED) return wml_fail(WEBML_ERROR_IO, "cannot map %s: %s", name, strerror(errno));
  r->bytes = (uint8_t *)at + skip;
  r->size = size;
  r->skip = skip;
  r->mapped = true;
  return WEBML_OK;
}

webml_status wml_region_map(int fd, size_t offset, size_t size, const char *name, wml_region *r) {
  *r = (wml_region){.fd = -1};
  return map(fd, offset, size, name, r);
}

size_t wml_region_memory(size_t size, const char *folder) {
  return folder && size >= in_file_from ? 0 : size;
}

webml_status wml_region_create(size_t size, const char *folder, const char *what, wml_region *r) {
  *r = (wml_region){.fd = -1, .size = size};
  if (!wml_region_memory(size, folder)) {
    if ((r->fd = wml_nameless_file(folder, size)) < 0) return WEBML_ERROR_IO;
    webml_status status = map(r->fd, 0, size, what, r);
    if (status != WEBML_OK)
      wml_region_free(r);
    else /* rows are read in small pieces: reading ahead would read most of it for nothing */
      madvise(r->bytes - r->skip, size + r->skip, MADV_RANDOM);
    return status;
  }
  r->bytes = wml_alloc(size);
  return r->bytes ? WEBML_OK : wml_no_memory(size, what);
}

webml_status wml_region_write(wml_region *r, const void *bytes, size_t n, size_t offset) {
  if (r->fd >= 0) return wml_write_at(r->fd, "a temporary file", bytes, n, offset);
  if (n) memcpy(r->bytes + offset, bytes, n);
  return WEBML_OK;
}

void wml_region_free(wml_region *r) {
  if (r->mapped)
    munmap(r->bytes - r->skip, r->size + r->skip);
  else
    wml_free(r->bytes);
  if (r->fd >= 0) close(r->fd);
  *r = (wml_region){.fd = -1};
}
