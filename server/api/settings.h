/* What administrators set for everybody: limits of users, and how the server behaves. */
#ifndef SERVER_API_SETTINGS_H
#define SERVER_API_SETTINGS_H

#include "api.h"

/* The value of a setting that settings.c declares; its default where nobody has set it. */
double setting(api *a, const char *name);
/* The declared default is replaced, by an option of the command line. Before the first request. */
void setting_default(const char *name, double value);

#endif
