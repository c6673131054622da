#include "data/table/source.h"

#include "base/file.h"
#include "data/bomb.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A compressed file is checked for being a bomb after so many bytes. */
static const size_t piece_bytes = (size_t)1 << 22;

static webml_status cannot_read(const wml_source *s) {
  return wml_fail(WEBML_ERROR_IO, "cannot read %s: %s", s->name, strerror(errno));
}

webml_status wml_source_open(const char *path, wml_source *s) {
  struct stat info;
  unsigned char magic[2] = {0, 0};
  *s = (wml_source){.name = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
  if (s->fd < 0 || fstat(s->fd, &info) != 0) {
    webml_status status = cannot_read(s);
    wml_source_close(s);
    return status;
  }
  if (!S_ISREG(info.st_mode)) {
    wml_source_close(s);
    return wml_fail(WEBML_ERROR_IO, "cannot read %s: it is not a file", path);
  }
  s->size = (size_t)info.st_size;
  s->identity = wml_file_identity(&info);
  if (pread(s->fd, magic, 2, 0) == 2 && magic[0] == 0x1F && magic[1] == 0x8B) {
    s->gzip = gzdopen(s->fd, "rb");
    if (!s->gzip) {
      wml_source_close(s);
      return wml_no_memory(1 << 15, path);
    }
    s->fd = -1; /* the gzFile's now */
    gzbuffer(s->gzip, 1 << 18);
  } else
    posix_fadvise(s->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return WEBML_OK;
}

void wml_source_memory(const char *bytes, size_t size, const char *name, wml_source *s) {
  *s = (wml_source){.name = name, .fd = -1, .memory = bytes, .size = size};
}

/* The ratio is that of what has been read so far: bytes behind a bomb do not hide it. */
static webml_status read_gzip(wml_source *s, char *out, size_t want, size_t *got) {
  while (*got < want) {
    size_t piece = want - *got < piece_bytes ? want - *got : piece_bytes;
    int n = gzread(s->gzip, out + *got, (unsigned)piece), code = Z_OK;
    const char *why = n < 0 || n == 0 ? gzerror(s->gzip, &code) : "";
    if (n < 0 || (n == 0 && code == Z_BUF_ERROR))
      return wml_fail(WEBML_ERROR_PARSE, "%s: the gzip data is damaged or cut off%s%s", s->name,
                      code == Z_BUF_ERROR ? "" : ": ", code == Z_BUF_ERROR ? "" : why);
    if (n == 0) break;
    *got += (size_t)n;
    s->at += (size_t)n;
    WML_TRY(wml_bomb_check(s->name, s->at, (uint64_t)gzoffset(s->gzip)));
  }
  return WEBML_OK;
}

webml_status wml_source_read(wml_source *s, char *out, size_t want, size_t *got) {
  *got = 0;
  if (s->gzip) return read_gzip(s, out, want, got);
  if (s->memory) {
    *got = s->size - s->at < want ? s->size - s->at : want;
    if (*got) memcpy(out, s->memory + s->at, *got);
    s->at += *got;
    return WEBML_OK;
  }
  while (*got < want) {
    ssize_t n = read(s->fd, out + *got, want - *got);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot_read(s);
    if (n == 0) break;
    *got += (size_t)n;
  }
  return WEBML_OK;
}

webml_status wml_source_rewind(wml_source *s) {
  s->at = 0;
  if (s->gzip) return gzrewind(s->gzip) == 0 ? WEBML_OK : cannot_read(s);
  if (s->fd >= 0 && lseek(s->fd, 0, SEEK_SET) != 0) return cannot_read(s);
  return WEBML_OK;
}

void wml_source_close(wml_source *s) {
  if (s->gzip) gzclose(s->gzip);
  if (s->fd >= 0) close(s->fd);
  s->gzip = NULL;
  s->fd = -1;
}
