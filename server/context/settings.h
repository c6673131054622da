/* What administrators set for everybody: limits of users, and how the server behaves. */
#ifndef SERVER_CONTEXT_SETTINGS_H
#define SERVER_CONTEXT_SETTINGS_H

#include "store/store.h"

typedef struct setting_kind {
  const char *name, *about;
  bool whole; /* a whole number */
  double least, most;
} setting_kind;

/* Those that there are; ends with a name of NULL. */
extern const setting_kind setting_kinds[];

/* The value; the default where nobody has set it. Names that there are not end the program. */
double setting(store *s, const char *name);
/* The default is replaced, by an option of the command line. Before the first request. */
void setting_default(const char *name, double value);

#endif
