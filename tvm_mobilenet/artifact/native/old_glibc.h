/* Lets a library that is linked where glibc is new be loaded where it is old.
 *
 * glibc 2.32 and 2.34 gave functions of threads new versions as they moved from libpthread to libc;
 * nothing else changed. An artifact goes to boards whose systems are years older than the machine that
 * compiled it, so it asks for the first versions, which every glibc has: where it is older than 2.34,
 * in libpthread, which a program that starts threads is linked to.
 */
#ifndef TMN_OLD_GLIBC_H
#define TMN_OLD_GLIBC_H

#include <features.h>

#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#if defined(__x86_64__)
#define TMN_FIRST_GLIBC "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define TMN_FIRST_GLIBC "GLIBC_2.17"
#elif defined(__arm__)
#define TMN_FIRST_GLIBC "GLIBC_2.4"
#elif defined(__riscv)
#define TMN_FIRST_GLIBC "GLIBC_2.27"
#endif
#endif

#ifdef TMN_FIRST_GLIBC
#define TMN_OLD(name) __asm__(".symver " #name "," #name "@" TMN_FIRST_GLIBC)
TMN_OLD(pthread_attr_setstacksize);
TMN_OLD(pthread_create);
TMN_OLD(pthread_join);
TMN_OLD(pthread_sigmask);
#endif

#endif
