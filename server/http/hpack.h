/* What a header block (RFC 7541) will need once it is decoded, without decoding it. */
#ifndef SERVER_HTTP_HPACK_H
#define SERVER_HTTP_HPACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct http_block {
  size_t fields;
  size_t literal; /* bytes of texts that are not references, at most, when decoded */
} http_block;

/* False: the block is broken, or has more than `most` fields. Takes time in proportion to size. */
bool http_block_measure(const uint8_t *bytes, size_t size, size_t most, http_block *block);

#endif
