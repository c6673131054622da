/* The pictures of a data set: where they lie, their classes and parts, and their pixels packed for
 * a network. */
#ifndef WML_DATA_IMAGES_PICTURES_H
#define WML_DATA_IMAGES_PICTURES_H

#include "base/alloc.h"
#include "base/region.h"
#include "data/images/image.h"
#include "data/split.h"

typedef enum wml_place { WML_IN_FOLDER, WML_IN_ZIP, WML_IN_IDX } wml_place;

typedef struct wml_picture {
  const char *name; /* below the folder or in the zip file; NULL in an IDX file */
  int64_t member;   /* of the zip file */
  int32_t label;
  uint8_t part;
} wml_picture;

typedef struct wml_pictures {
  wml_arena arena;
  wml_place place;
  const char *path;
  uint64_t identity; /* changes when any file changes */
  int n_classes;
  const char **classes;
  int64_t n;
  wml_picture *list;   /* class by class; files of a class in the order of a sorted walk */
  int64_t ignored;     /* files that are no pictures by their names */
  bool own_validation; /* the data set has a validation part of its own */
  uint8_t *pixels;     /* IDX: [n, height, width] */
  int height, width;
} wml_pictures;

/* Opens what is at `path`: a folder of classes or of IDX files, or a zip file. class_list: names
 * with commas, which are taken and in which order; NULL: those of classes.txt, else all. cache:
 * file to keep the list of a zip file in; NULL: none. */
webml_status wml_pictures_open(const char *path, const char *class_list, const char *cache,
                               wml_pictures *p);
void wml_pictures_free(wml_pictures *p);
/* Splits what has no part of its own. */
webml_status wml_pictures_split(wml_pictures *p, const wml_split_options *split);

/* ---- lists: layout.c ---- */

/* A file or folder as it was found, with '/' between the names. */
typedef struct wml_entry {
  const char *name;
  int64_t member;
  uint32_t folder; /* length of the part before the last slash */
  bool is_folder;
} wml_entry;

typedef struct wml_entries {
  size_t n, capacity;
  wml_entry *items;
} wml_entries;

webml_status wml_entries_add(wml_entries *list, wml_arena *arena, const char *name, size_t length,
                             int64_t member, bool is_folder);
/* In Keras's order: folders by their path, then the names in each. */
void wml_entries_sort(wml_entries *list);
/* Adds sorted entries to sorted ones. */
webml_status wml_entries_merge(wml_entries *to, const wml_entries *from);
/* What the names of sorted entries mean: training_data/<class>/ and validation_data/<class>/, or
 * <class>/, with one folder around everything or none. Fills classes and list. */
webml_status wml_pictures_arrange(wml_pictures *p, wml_entries *entries, const char *class_list);
/* A name that systems leave behind and nobody means: __MACOSX, Thumbs.db, .DS_Store, ... */
bool wml_is_litter(const char *name, size_t length);

/* list.c: the list of a zip file, kept so that the next opening need not read its directory. */
webml_status wml_list_load(wml_pictures *p, const char *path, uint64_t key, bool *found);
void wml_list_save(const wml_pictures *p, const char *path, uint64_t key);

/* folder.c, zip.c, idx.c */
bool wml_is_zip(const char *path);
webml_status wml_folder_list(wml_pictures *p, wml_entries *entries);
webml_status wml_zip_list(wml_pictures *p, wml_entries *entries);
bool wml_idx_present(const char *folder);
webml_status wml_idx_open(wml_pictures *p, const char *class_list);
/* Reads one IDX file, plain or gzip: images give [n, height, width], labels [n]. For tests and
 * fuzzing too. */
webml_status wml_idx_read(const char *path, int rank, int64_t dims[3], uint8_t **bytes);

/* ---- bytes of pictures: read.c. One reader per thread. ---- */

typedef struct wml_picture_reader {
  const wml_pictures *pictures;
  int folder;     /* descriptor */
  void *zip;      /* zip_t */
  uint8_t *bytes; /* of the last file */
  size_t size, capacity;
  wml_image image;
} wml_picture_reader;

webml_status wml_reader_open(const wml_pictures *p, wml_picture_reader *r);
/* The file's bytes, in r->bytes. Not for IDX. */
webml_status wml_reader_read(wml_picture_reader *r, int64_t i);
/* Read, decoded and fitted: out [height, width, channels]. WEBML_ERROR_PARSE: the picture is
 * broken. */
webml_status wml_reader_fit(wml_picture_reader *r, int64_t i, const wml_picture_options *options,
                            int height, int width, int channels, uint8_t *out);
void wml_reader_close(wml_picture_reader *r);
/* "path/name", for messages; the buffer is the caller's. */
const char *wml_picture_name(const wml_pictures *p, int64_t i, char *buffer, size_t size);
/* zip.c */
webml_status wml_zip_open(const char *path, void **zip);
webml_status wml_zip_read(wml_picture_reader *r, int64_t i);
void wml_zip_close(void *zip);

/* ---- packed pixels: pack.c ---- */

typedef struct wml_pack {
  wml_region region;
  const uint8_t *pixels; /* [n, height, width, channels], 64-byte aligned */
  const uint8_t *broken; /* [n] 1: the picture cannot be read */
  const uint64_t *sums;  /* [n] hash of each picture's pixels */
  uint64_t fingerprint;  /* of all pixels */
} wml_pack;

/* All pictures at one size. cache: file that is read where it belongs to these pictures, else made;
 * NULL: in memory. */
webml_status wml_pictures_pack(const wml_pictures *p, const wml_picture_options *options,
                               int height, int width, int channels, const char *cache,
                               wml_pack *pack);
void wml_pack_free(wml_pack *pack);
/* Bytes that a packed file will have, before it is made. */
uint64_t wml_pack_size(int64_t n, int height, int width, int channels);

#endif
