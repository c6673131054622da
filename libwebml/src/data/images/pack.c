/* All pictures of a data set at one size, decoded by several threads into one array: in memory, or
 * in a file that is mapped by every training that wants it.
 *
 * Layout: header [128], sums [n] uint64 (hash of each picture's pixels), broken [n] bytes, pixels
 * [n, height, width, channels] 64-byte aligned. The header is written last and the file named after
 * it. What the system has not written out when it goes down is caught by `boot`: after another
 * start of the machine the sums are checked once. */
#include "base/cachefile.h"
#include "base/hash.h"
#include "base/threads.h"
#include "data/images/pictures.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

typedef struct header {
  char magic[8];
  uint64_t identity, n, size;
  uint64_t tables_hash; /* of sums and broken */
  uint64_t boot;
  uint32_t height, width, channels, unused;
} header;

enum { HEADER_BYTES = 128 };
static const char magic[8] = {'w', 'e', 'b', 'm', 'l', 'p', 'k', '1'};

_Static_assert(sizeof(header) <= HEADER_BYTES, "the header must fit");

typedef struct layout {
  uint64_t sums, broken, pixels, size;
} layout;

static layout layout_of(int64_t n, uint64_t row) {
  uint64_t k = (uint64_t)n;
  layout l = {.sums = HEADER_BYTES};
  l.broken = l.sums + 8 * k;
  l.pixels = (l.broken + k + 63) / 64 * 64;
  l.size = l.pixels + k * row;
  return l;
}

static uint64_t row_bytes(int height, int width, int channels) {
  return (uint64_t)height * (uint64_t)width * (uint64_t)channels;
}

uint64_t wml_pack_size(int64_t n, int height, int width, int channels) {
  return layout_of(n, row_bytes(height, width, channels)).size;
}

/* ---- decoding ---- */

typedef struct packing {
  const wml_pictures *pictures;
  const wml_picture_options *options;
  int height, width, channels;
  size_t row;
  layout at;
  int fd;         /* of the file that is made; -1: */
  uint8_t *bytes; /* in memory */
  const char *name;
  uint64_t *sums;
  uint8_t *broken;
  atomic_llong next;
} packing;

enum { CHUNK = 32 }; /* pictures taken and written at once */

static webml_status pack_one(packing *k, wml_picture_reader *r, int64_t i, uint8_t *out) {
  webml_status status = wml_reader_fit(r, i, k->options, k->height, k->width, k->channels, out);
  k->broken[i] = status == WEBML_ERROR_PARSE;
  if (k->broken[i]) {
    memset(out, 0, k->row);
    status = WEBML_OK;
  }
  if (status != WEBML_OK) return status;
  k->sums[i] = wml_hash(WML_HASH_SEED, out, k->row);
  return WEBML_OK;
}

static webml_status pack_some(void *arg, int helper) {
  packing *k = arg;
  wml_picture_reader r;
  (void)helper;
  uint8_t *buffer = k->fd >= 0 ? wml_alloc(CHUNK * k->row) : NULL;
  WML_TRY(k->fd >= 0 && !buffer ? wml_no_memory(CHUNK * k->row, "pictures") : WEBML_OK);
  webml_status status = wml_reader_open(k->pictures, &r);
  while (status == WEBML_OK) {
    int64_t first = atomic_fetch_add(&k->next, CHUNK), n = k->pictures->n - first;
    if (n <= 0) break;
    if (n > CHUNK) n = CHUNK;
    uint8_t *out = buffer ? buffer : k->bytes + k->at.pixels + (size_t)first * k->row;
    for (int64_t i = 0; i < n && status == WEBML_OK; i++)
      status = pack_one(k, &r, first + i, out + (size_t)i * k->row);
    if (status == WEBML_OK && buffer)
      status = wml_write_at(k->fd, k->name, buffer, (size_t)n * k->row,
                            k->at.pixels + (size_t)first * k->row);
  }
  if (status != WEBML_OK) atomic_store(&k->next, k->pictures->n);
  wml_reader_close(&r);
  wml_free(buffer);
  return status;
}

static uint64_t tables_hash(const packing *k) {
  size_t n = (size_t)k->pictures->n;
  uint64_t hash = wml_hash(WML_HASH_SEED, k->sums, n * sizeof *k->sums);
  return wml_hash(hash, k->broken, n);
}

/* Changes with every start of the machine; 0 where it is not known. */
static uint64_t boot_of(void) {
  char text[64];
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
  if (fd >= 0) close(fd);
  return n > 0 ? wml_hash(WML_HASH_SEED, text, (size_t)n) : 0;
}

static webml_status decode_all(packing *k) {
  int64_t n = k->pictures->n;
  int helpers = wml_helper_count();
  if (n < helpers * 8) helpers = 1;
  atomic_init(&k->next, 0);
  return wml_parallel(helpers, pack_some, k);
}

static void set_tables(packing *k, uint8_t *bytes) {
  k->sums = (uint64_t *)(void *)(bytes + k->at.sums);
  k->broken = bytes + k->at.broken;
}

static void use(const packing *k, wml_pack *pack) {
  const uint8_t *bytes = pack->region.bytes;
  pack->pixels = bytes + k->at.pixels;
  pack->broken = bytes + k->at.broken;
  pack->sums = (const uint64_t *)(const void *)(bytes + k->at.sums);
  pack->fingerprint = wml_hash(WML_HASH_SEED, pack->sums, 8 * (size_t)k->pictures->n);
}

static webml_status pack_in_memory(packing *k, wml_pack *pack) {
  WML_TRY(wml_region_create(k->at.size, NULL, "decoded pictures", &pack->region));
  k->fd = -1;
  k->bytes = pack->region.bytes;
  set_tables(k, k->bytes);
  WML_TRY(decode_all(k));
  use(k, pack);
  return WEBML_OK;
}

/* ---- the file ---- */

static uint64_t identity_of(const packing *k) {
  const uint64_t facts[] = {k->pictures->identity, (uint64_t)k->options->resize,
                            (uint64_t)k->options->exif_orientation, (uint64_t)k->pictures->n};
  uint64_t hash = wml_hash(WML_HASH_SEED, facts, sizeof facts);
  for (int c = 0; c < k->pictures->n_classes; c++)
    hash = wml_hash(hash, k->pictures->classes[c], strlen(k->pictures->classes[c]));
  return hash;
}

static bool sums_agree(const packing *k, const uint8_t *bytes) {
  const uint64_t *sums = (const uint64_t *)(const void *)(bytes + k->at.sums);
  for (int64_t i = 0; i < k->pictures->n; i++)
    if (wml_hash(WML_HASH_SEED, bytes + k->at.pixels + (size_t)i * k->row, k->row) != sums[i])
      return false;
  return true;
}

/* Maps the file where it belongs to these pictures. */
static bool load(packing *k, const char *path, wml_pack *pack) {
  header h;
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool ok = fd >= 0 && fstat(fd, &info) == 0 && (uint64_t)info.st_size == k->at.size &&
            wml_read_at(fd, path, &h, sizeof h, 0) == WEBML_OK &&
            memcmp(h.magic, magic, sizeof magic) == 0 && h.identity == identity_of(k) &&
            h.n == (uint64_t)k->pictures->n && h.size == k->at.size &&
            h.height == (uint32_t)k->height && h.width == (uint32_t)k->width &&
            h.channels == (uint32_t)k->channels &&
            wml_region_map(fd, 0, k->at.size, path, &pack->region) == WEBML_OK;
  if (fd >= 0) close(fd);
  if (!ok) return false;
  uint64_t boot = boot_of();
  set_tables(k, pack->region.bytes);
  if (h.tables_hash != tables_hash(k) ||
      ((boot == 0 || h.boot != boot) && !sums_agree(k, pack->region.bytes))) {
    wml_region_free(&pack->region);
    return false;
  }
  use(k, pack);
  return true;
}

static webml_status write_file(packing *k, wml_cachefile *f) {
  size_t tables = k->at.pixels - HEADER_BYTES;
  uint8_t *bytes = wml_calloc(1, k->at.pixels);
  if (!bytes) return wml_no_memory(k->at.pixels, "pictures");
  set_tables(k, bytes);
  k->fd = f->fd;
  k->name = f->path;
  int failed = posix_fallocate(f->fd, 0, (off_t)k->at.size);
  webml_status status = WEBML_OK;
  if (failed)
    status = wml_fail(WEBML_ERROR_IO, "cannot write the %llu MiB of %s: %s",
                      (unsigned long long)(k->at.size >> 20), f->path, strerror(failed));
  if (status == WEBML_OK) status = decode_all(k);
  header h = {.identity = identity_of(k),
              .n = (uint64_t)k->pictures->n,
              .size = k->at.size,
              .tables_hash = tables_hash(k),
              .boot = boot_of(),
              .height = (uint32_t)k->height,
              .width = (uint32_t)k->width,
              .channels = (uint32_t)k->channels};
  memcpy(h.magic, magic, sizeof magic);
  if (status == WEBML_OK)
    status = wml_write_at(f->fd, f->path, bytes + HEADER_BYTES, tables, HEADER_BYTES);
  if (status == WEBML_OK) status = wml_write_at(f->fd, f->path, &h, sizeof h, 0);
  wml_free(bytes);
  return status;
}

static webml_status make_file(packing *k, const char *path, wml_pack *pack) {
  wml_cachefile f;
  WML_TRY(wml_cachefile_lock(path, &f));
  if (load(k, path, pack)) { /* another process has just made it */
    wml_cachefile_abandon(&f);
    return WEBML_OK;
  }
  webml_status status = wml_cachefile_create(&f);
  if (status == WEBML_OK) status = write_file(k, &f);
  if (status != WEBML_OK) {
    wml_cachefile_abandon(&f);
    return status;
  }
  int fd = f.fd;
  status = wml_cachefile_commit(&f);
  if (status != WEBML_OK) return status;
  status = wml_region_map(fd, 0, k->at.size, path, &pack->region);
  close(fd);
  if (status == WEBML_OK) use(k, pack);
  return status;
}

webml_status wml_pictures_pack(const wml_pictures *p, const wml_picture_options *options,
                               int height, int width, int channels, const char *cache,
                               wml_pack *pack) {
  packing k = {.pictures = p,
               .options = options,
               .height = height,
               .width = width,
               .channels = channels,
               .row = (size_t)row_bytes(height, width, channels),
               .fd = -1};
  *pack = (wml_pack){.region = {.fd = -1}};
  k.at = layout_of(p->n, k.row);
  if (channels != 1 && channels != 3 && channels != 4)
    return wml_fail(WEBML_ERROR_DATA, "pictures have 1, 3 or 4 channels, the model wants %d",
                    channels);
  if (cache && load(&k, cache, pack)) return WEBML_OK;
  webml_status status = cache ? make_file(&k, cache, pack) : pack_in_memory(&k, pack);
  if (status != WEBML_OK) wml_pack_free(pack);
  return status;
}

void wml_pack_free(wml_pack *pack) {
  wml_region_free(&pack->region);
}
