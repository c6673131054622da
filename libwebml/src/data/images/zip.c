/* Pictures in a zip file, read where they lie. What libzip lists is not trusted: names that leave
 * the folder, links and files made to fill a machine are refused. */
#include "base/file.h"
#include "data/images/pictures.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

/* Pictures hardly compress: a thousand times is what a file of zeros does. */
static const uint64_t max_ratio = 100, ratio_from = 1 << 20;
static const int64_t max_members = 20000000;
enum { MAX_NAME = 4096 };

bool wml_is_zip(const char *path) {
  char magic[4] = "";
  FILE *f = fopen(path, "rb");
  size_t n = f ? fread(magic, 1, 4, f) : 0;
  if (f) fclose(f);
  return n == 4 && (memcmp(magic, "PK\3\4", 4) == 0 || memcmp(magic, "PK\5\6", 4) == 0);
}

webml_status wml_zip_open(const char *path, void **zip) {
  int code = 0;
  zip_t *z = zip_open(path, ZIP_RDONLY, &code);
  if (!z) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    webml_status status =
        wml_fail(code == ZIP_ER_MEMORY ? WEBML_ERROR_MEMORY : WEBML_ERROR_PARSE,
                 "cannot read the zip file %s: %s", path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return status;
  }
  *zip = z;
  return WEBML_OK;
}

void wml_zip_close(void *zip) {
  if (zip) zip_discard(zip);
}

static webml_status refuse(const wml_pictures *p, const char *name, const char *why) {
  return wml_fail(WEBML_ERROR_PARSE, "%s: the member \"%.200s\" %s", p->path, name, why);
}

/* Slashes for backslashes, no "./" in front; *litter: to be passed over. */
static webml_status clean_name(const wml_pictures *p, const char *raw, char *name, size_t *length,
                               bool *litter) {
  size_t n = strlen(raw);
  if (n >= MAX_NAME) return refuse(p, raw, "has a name that is too long");
  for (size_t i = 0; i <= n; i++) name[i] = raw[i] == '\\' ? '/' : raw[i];
  while (n >= 2 && name[0] == '.' && name[1] == '/') memmove(name, name + 2, (n -= 2) + 1);
  if (name[0] == '/' || (n >= 2 && name[1] == ':'))
    return refuse(p, raw, "has an absolute path; a data set must stay in its folder");
  *litter = n == 0;
  for (const char *at = name; *at;) {
    size_t part = strcspn(at, "/");
    if (part == 2 && at[0] == '.' && at[1] == '.')
      return refuse(p, raw, "leaves its folder with \"..\"");
    *litter |= part > 0 && wml_is_litter(at, part);
    at += part + (at[part] == '/');
  }
  *length = n;
  return WEBML_OK;
}

static bool is_link(zip_t *z, uint64_t index) {
  uint8_t system = 0;
  uint32_t attributes = 0;
  if (zip_file_get_external_attributes(z, index, 0, &system, &attributes) != 0) return false;
  return system == ZIP_OPSYS_UNIX && S_ISLNK(attributes >> 16);
}

/* One member into the list; its size counts for the whole. */
static webml_status list_member(wml_pictures *p, zip_t *z, uint64_t i, wml_entries *entries,
                                uint64_t *total) {
  zip_stat_t info;
  char name[MAX_NAME];
  size_t n = 0;
  bool litter = false;
  if (zip_stat_index(z, i, 0, &info) != 0 || !info.name)
    return wml_fail(WEBML_ERROR_PARSE, "%s: member %llu cannot be read: %s", p->path,
                    (unsigned long long)i, zip_strerror(z));
  WML_TRY(clean_name(p, info.name, name, &n, &litter));
  if (is_link(z, i))
    return refuse(p, info.name, "is a link; a data set must hold the files themselves");
  if (info.encryption_method != ZIP_EM_NONE) return refuse(p, info.name, "is encrypted");
  *total += info.size;
  if (info.size > ratio_from && info.size / max_ratio > info.comp_size)
    return refuse(p, info.name, "would be more than 100 times as large as it is compressed");
  if (litter) return WEBML_OK;
  bool is_folder = name[n - 1] == '/';
  if (!is_folder && info.size > WML_IMAGE_MAX_FILE)
    return refuse(p, info.name, "is larger than any picture");
  while (n && name[n - 1] == '/') name[--n] = '\0';
  return n ? wml_entries_add(entries, &p->arena, name, n, (int64_t)i, is_folder) : WEBML_OK;
}

webml_status wml_zip_list(wml_pictures *p, wml_entries *entries) {
  void *opened = NULL;
  struct stat info;
  WML_TRY(wml_zip_open(p->path, &opened));
  zip_t *z = opened;
  int64_t n = zip_get_num_entries(z, 0);
  uint64_t total = 0;
  webml_status status = WEBML_OK;
  if (stat(p->path, &info) != 0) info.st_size = 0;
  if (n > max_members)
    status = wml_fail(WEBML_ERROR_PARSE, "%s: %lld members are too many", p->path, (long long)n);
  for (int64_t i = 0; i < n && status == WEBML_OK; i++) {
    status = list_member(p, z, (uint64_t)i, entries, &total);
    if (status == WEBML_OK && total > ratio_from && total / max_ratio > (uint64_t)info.st_size)
      status = wml_fail(WEBML_ERROR_PARSE,
                        "%s: its members would be more than 100 times as large as the file; it is "
                        "made to fill a disk",
                        p->path);
  }
  wml_zip_close(z);
  wml_entries_sort(entries);
  return status;
}

/* Not more is taken than was announced, whatever the data says. */
webml_status wml_zip_read(wml_picture_reader *r, int64_t i) {
  const wml_pictures *p = r->pictures;
  const wml_picture *picture = &p->list[i];
  zip_stat_t info;
  zip_t *z = r->zip;
  if (zip_stat_index(z, (uint64_t)picture->member, 0, &info) != 0)
    return refuse(p, picture->name, "cannot be read");
  if (info.size > WML_IMAGE_MAX_FILE) return refuse(p, picture->name, "is larger than any picture");
  if (info.size + 1 > r->capacity) {
    wml_free(r->bytes);
    r->capacity = 0;
    if (!(r->bytes = wml_alloc(info.size * 2 + 1))) return wml_no_memory(info.size, picture->name);
    r->capacity = info.size * 2 + 1;
  }
  zip_file_t *f = zip_fopen_index(z, (uint64_t)picture->member, 0);
  if (!f)
    return wml_fail(WEBML_ERROR_PARSE, "%s: the member \"%.200s\" cannot be read: %s", p->path,
                    picture->name, zip_strerror(z));
  r->size = 0;
  int64_t got = 1;
  while (got > 0 && r->size < info.size + 1) {
    got = zip_fread(f, r->bytes + r->size, info.size + 1 - r->size);
    if (got > 0) r->size += (size_t)got;
  }
  webml_status status = WEBML_OK;
  if (got < 0 || r->size != info.size)
    status = wml_fail(WEBML_ERROR_PARSE, "%s: the member \"%.200s\" is damaged%s%s", p->path,
                      picture->name, got < 0 ? ": " : "", got < 0 ? zip_file_strerror(f) : "");
  zip_fclose(f);
  return status;
}
