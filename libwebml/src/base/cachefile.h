/* Files that save work the next time: made by whoever comes first, read by all, thrown away by
 * anyone at any time. */
#ifndef WML_BASE_CACHEFILE_H
#define WML_BASE_CACHEFILE_H

#include "base/file.h"

/* The folder for caches: `given`, else $WEBML_CACHE, else $XDG_CACHE_HOME/webml, else
 * $HOME/.cache/webml; made where it is missing. NULL in *folder: none is wanted (the word "none")
 * or none can be made. wml_free(*folder). */
webml_status wml_cache_folder(const char *given, char **folder);

/* A cache file that is being made. Others that want the same one wait for it. */
typedef struct wml_cachefile {
  char *path, *temporary, *lock_path;
  int lock, fd;
} wml_cachefile;

/* Takes the lock of `path`, waiting for another process that makes the file. Look again whether it
 * is there, then wml_cachefile_create(). */
webml_status wml_cachefile_lock(const char *path, wml_cachefile *f);
/* Opens the file under a temporary name, for reading and writing. */
webml_status wml_cachefile_create(wml_cachefile *f);
/* Gives it its name, and the lock back. The descriptor stays open: the caller's. */
webml_status wml_cachefile_commit(wml_cachefile *f);
void wml_cachefile_abandon(wml_cachefile *f);

/* A file of this size that has no name, in `folder`: freed by closing it. -1 with an error. */
int wml_nameless_file(const char *folder, uint64_t size);
/* The whole of `bytes` at `offset`. */
webml_status wml_write_at(int fd, const char *name, const void *bytes, size_t n, uint64_t offset);
webml_status wml_read_at(int fd, const char *name, void *bytes, size_t n, uint64_t offset);

#endif
