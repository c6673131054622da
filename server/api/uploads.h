/* Pieces of uploads, and uploads that a killed server left whole. */
#ifndef SERVER_API_UPLOADS_H
#define SERVER_API_UPLOADS_H

#include "api.h"

/* For http_options: pieces are written to their file while they come; user is the api. */
extern const http_body_functions uploads_body;

/* Uploads that are whole become data sets. After the inspections were created, before the first
 * call. */
void uploads_recover(api *a);

#endif
