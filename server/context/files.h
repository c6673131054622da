/* Files of the data directory that belong to rows of the store. */
#ifndef SERVER_CONTEXT_FILES_H
#define SERVER_CONTEXT_FILES_H

#include "context.h"

/* Makes the folders that are not there yet. False with errno. */
bool files_prepare(const context *c);
/* Data sets and uploads whose row is gone, after whatever was deleted with all that it owned. */
void files_tidy(const context *c);

#endif
