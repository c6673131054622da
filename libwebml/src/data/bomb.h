/* Compressed data that are made to fill a machine: how far decompression goes along. */
#ifndef WML_DATA_BOMB_H
#define WML_DATA_BOMB_H

#include "base/status.h"

/* Text compresses 3 to 20 times, tables of repeated values a hundred times; deflate itself cannot
 * do more than 1,032 times. */
enum { WML_BOMB_RATIO = 400 };
/* The ratio counts from here on: small files of one repeated row are honest. */
static const uint64_t wml_bomb_from = (uint64_t)32 << 20;
/* More than this is never decompressed on the fly, whatever the ratio. */
static const uint64_t wml_bomb_most = (uint64_t)64 << 30;

/* After `out` bytes were made of the first `in` compressed ones. WEBML_ERROR_PARSE. */
static inline webml_status wml_bomb_check(const char *name, uint64_t out, uint64_t in) {
  if (out > wml_bomb_from && out / WML_BOMB_RATIO > in)
    return wml_fail(WEBML_ERROR_PARSE,
                    "%s: decompresses to more than %d times its size; decompress it yourself "
                    "where it is to be trusted",
                    name, WML_BOMB_RATIO);
  if (out > wml_bomb_most)
    return wml_fail(WEBML_ERROR_PARSE,
                    "%s: decompresses to more than %llu GB; decompress it yourself where it is to "
                    "be trusted",
                    name, (unsigned long long)(wml_bomb_most >> 30));
  return WEBML_OK;
}

#endif
