/* The list of a zip file in a cache file: header, classes (each ended by NUL), one record and one
 * name per picture. What does not add up is not an error: the directory is read again. */
#include "base/cachefile.h"
#include "base/hash.h"
#include "base/text.h"
#include "data/images/pictures.h"

#include <string.h>
#include <unistd.h>

typedef struct header {
  char magic[8];
  uint64_t key, hash; /* of all that follows */
  int64_t n, ignored;
  int32_t n_classes, own_validation;
} header;

typedef struct record {
  int64_t member;
  int32_t label;
  uint32_t part;
} record;

static const char magic[8] = {'w', 'e', 'b', 'm', 'l', 'l', 's', '1'};
static const size_t max_bytes = (size_t)1 << 32;

void wml_list_save(const wml_pictures *p, const char *path, uint64_t key) {
  header h = {.key = key,
              .n = p->n,
              .ignored = p->ignored,
              .n_classes = p->n_classes,
              .own_validation = p->own_validation};
  wml_text text = {0};
  memcpy(h.magic, magic, sizeof magic);
  wml_text_add(&text, (const char *)&h, sizeof h);
  for (int64_t i = 0; i < p->n; i++) {
    record r = {p->list[i].member, p->list[i].label, p->list[i].part};
    wml_text_add(&text, (const char *)&r, sizeof r);
  }
  for (int c = 0; c < p->n_classes; c++)
    wml_text_add(&text, p->classes[c], strlen(p->classes[c]) + 1);
  for (int64_t i = 0; i < p->n; i++)
    wml_text_add(&text, p->list[i].name, strlen(p->list[i].name) + 1);
  if (!text.failed) {
    h.hash = wml_hash(WML_HASH_SEED, text.data + sizeof h, text.length - sizeof h);
    memcpy(text.data, &h, sizeof h);
    wml_cachefile f;
    if (wml_cachefile_lock(path, &f) == WEBML_OK) {
      if (wml_cachefile_create(&f) == WEBML_OK &&
          wml_write_at(f.fd, path, text.data, text.length, 0) == WEBML_OK) {
        int fd = f.fd;
        if (wml_cachefile_commit(&f) == WEBML_OK) close(fd);
      } else
        wml_cachefile_abandon(&f);
    }
  }
  wml_text_free(&text);
  wml_clear_error(); /* a cache that cannot be written is no failure */
}

/* The next text of a run of NUL-ended ones. */
static const char *next_text(const char **at, const char *end) {
  const char *text = *at, *stop = memchr(text, 0, (size_t)(end - text));
  if (!stop) return NULL;
  *at = stop + 1;
  return text;
}

static bool read_list(wml_pictures *p, const header *h, const char *bytes, const char *end) {
  const char *at = bytes + (size_t)h->n * sizeof(record);
  p->classes = wml_arena_alloc(&p->arena, ((size_t)h->n_classes + 1) * sizeof *p->classes);
  p->list = wml_alloc((size_t)(h->n + 1) * sizeof *p->list);
  if (!p->classes || !p->list) return false;
  for (int c = 0; c < h->n_classes; c++)
    if (at >= end || !(p->classes[c] = next_text(&at, end))) return false;
  for (int64_t i = 0; i < h->n; i++) {
    record r;
    memcpy(&r, bytes + (size_t)i * sizeof r, sizeof r);
    const char *name = at < end ? next_text(&at, end) : NULL;
    if (!name || r.label < 0 || r.label >= h->n_classes || r.part >= WML_N_PARTS || r.member < 0)
      return false;
    p->list[i] = (wml_picture){name, r.member, r.label, (uint8_t)r.part};
  }
  p->n = h->n, p->n_classes = h->n_classes;
  p->ignored = h->ignored;
  p->own_validation = h->own_validation != 0;
  return true;
}

webml_status wml_list_load(wml_pictures *p, const char *path, uint64_t key, bool *found) {
  char *bytes = NULL;
  size_t size = 0;
  header h;
  *found = false;
  if (!wml_file_exists(path)) return WEBML_OK;
  WML_TRY(wml_file_read(path, max_bytes, &bytes, &size));
  bool ok = size >= sizeof h;
  if (ok) memcpy(&h, bytes, sizeof h);
  ok = ok && memcmp(h.magic, magic, sizeof magic) == 0 && h.key == key && h.n > 0 &&
       h.n_classes > 0 && (uint64_t)h.n < size / sizeof(record) && (size_t)h.n_classes < size &&
       wml_hash(WML_HASH_SEED, bytes + sizeof h, size - sizeof h) == h.hash;
  char *kept = ok ? wml_arena_alloc(&p->arena, size) : NULL; /* the names live there */
  if (kept) {
    memcpy(kept, bytes, size);
    *found = read_list(p, &h, kept + sizeof h, kept + size);
  }
  wml_free(bytes);
  if (!*found) {
    wml_free(p->list);
    p->list = NULL;
    p->n = 0, p->n_classes = 0;
  }
  return WEBML_OK;
}
