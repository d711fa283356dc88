/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libhv: the engine's one public header.
 */
#ifndef HV_HV_H
#define HV_HV_H
#endif
