/* multipart/form-data (RFC 7578), as pages and curl -F send files. */
#ifndef SERVER_API_MULTIPART_H
#define SERVER_API_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

/* Whether this content type is multipart/form-data. */
bool multipart_is(const char *content_type);
/* The first part with content, inside the body; NULL: there is none. */
const void *multipart_first(const char *content_type, const void *body, size_t size,
                            size_t *length);

#endif
