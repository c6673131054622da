/* Valid cache files as seeds: make-cache-seeds FOLDER */
#include "base/cachefile.h"
#include "data/images/pictures.h"
#include "data/table/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv) {
  static const char csv[] = "n,x,label\n1,0.5,a\n2,,b\n300,1e9,a\n";
  char path[4096], source[4096];
  bool found;
  if (argc != 2) return 2;
  mkdir(argv[1], 0777);
  snprintf(source, sizeof source, "%s/source.csv", argv[1]);
  snprintf(path, sizeof path, "%s/table", argv[1]);
  wml_table_options o = {.cache = path, .cache_from = 1};
  wml_table t;
  if (wml_file_write(source, csv, sizeof csv - 1) != WEBML_OK ||
      wml_table_read(source, &o, &t) != WEBML_OK)
    return 1;
  wml_table_free(&t);
  wml_picture list[] = {{"a/1.png", 0, 0, 0}, {"b/2.png", 3, 1, 1}};
  const char *classes[] = {"a", "b"};
  wml_pictures p = {.n = 2, .list = list, .n_classes = 2, .classes = classes};
  snprintf(path, sizeof path, "%s/list", argv[1]);
  wml_list_save(&p, path, 1);
  wml_pictures q = {.path = "x"};
  if (wml_list_load(&q, path, 1, &found) != WEBML_OK || !found) return 1;
  wml_pictures_free(&q);
  unlink(source);
  snprintf(path, sizeof path, "%s/table.lock", argv[1]);
  unlink(path);
  snprintf(path, sizeof path, "%s/list.lock", argv[1]);
  unlink(path);
  return 0;
}
