/* Uploads that a killed server left whole. */
#ifndef SERVER_API_UPLOADS_H
#define SERVER_API_UPLOADS_H

#include "api.h"

/* They become data sets. After the inspections were created, before the first call. */
void uploads_recover(api *a);

#endif
