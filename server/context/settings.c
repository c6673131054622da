#include "settings.h"

#include <stdlib.h>
#include <string.h>

#include "store/settings.h"

/* The dissertation's limits where it names them. Administrators themselves are not bound by those
 * of users. */
const setting_kind setting_kinds[] = {
    {"sessions_per_user", "trainings of one user that wait or run", true, 1, 10000},
    {"epochs", "most epochs of a training", true, 1, 100000},
    {"batch_size", "largest batch of a training", true, 1, 65536},
    {"rotation_range", "most degrees of rotation", true, 0, 180},
    {"shear_range", "most degrees of shear", false, 0, 90},
    {"zoom_range", "most zoom", false, 0, 0.99},
    {"weights_per_model", "weights that a model may have", true, 1, 100000},
    {"weights_bytes", "size of the weights of a model", true, 1024, 1e15},
    {"layers", "layers of a model", true, 1, 100000},
    {"parameters", "parameters of a model", true, 1, 1e12},
    {"storage_bytes", "data sets and uploads of a user, together", true, 0, 1e18},
    {"sessions_per_device", "trainings at a time on one device", true, 1, 64},
    {"run_seconds",
     "seconds of an inspection or another short run, beside one for each 4 MB of its data", true, 1,
     1e6},
    {"self_registration", "1: people may register without a key, and an administrator lets them in",
     true, 0, 1},
    {0}};

/* In the order of the kinds. */
static double defaults[] = {20, 15, 1024, 45, 0.5, 0.5, 20, 1 << 30, 100, 1e8, 20e9, 1, 600, 0};
_Static_assert(sizeof defaults / sizeof *defaults ==
                   sizeof setting_kinds / sizeof *setting_kinds - 1,
               "one default per kind");

static int find(const char *name) {
  for (int i = 0; setting_kinds[i].name; i++)
    if (strcmp(setting_kinds[i].name, name) == 0) return i;
  abort(); /* a typing error in this program */
}

void setting_default(const char *name, double value) {
  defaults[find(name)] = value;
}

double setting(store *s, const char *name) {
  double value = defaults[find(name)];
  settings_get(s, name, &value);
  return value;
}
