/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Table pages. They come from chunks of 2 MiB, aligned to their size:
 *
 *   page 0        struct mmu_chunk
 *   pages 1..31   the metadata (struct mmu_page) of the tables, 256 bytes each
 *   pages 32..511 tables
 *
 * so that a table's metadata follows from its address alone. Free pages are
 * always zero; who frees them clears them (the zap worker, not a fault).
 */
#include "hv/mmu/mmu_internal.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

#define CHUNK_SIZE	 HV_SZ_2M
#define CHUNK_FIRST	 32
#define CHUNK_META_BYTES 256
/* A vCPU that runs out takes this many at once. */
#define CACHE_BATCH 32
/* Chunks kept although all of their pages are free. */
#define CHUNKS_SPARE 2

struct mmu_chunk {
	struct cds_list_head link;
	unsigned int nr_free; /* on the pool's free list; under pool->lock */
	bool retired;	      /* being taken out of the free list */
};

static_assert(sizeof(struct mmu_page) <= CHUNK_META_BYTES, "metadata of a table");
static_assert(CHUNK_META_BYTES * (MMU_ENTRIES - CHUNK_FIRST) <= (CHUNK_FIRST - 1) * HV_PAGE_SIZE,
	      "metadata fits between header and tables");
static_assert(CHUNK_SIZE / HV_PAGE_SIZE == MMU_ENTRIES, "index of a table in its chunk");

static struct mmu_chunk *chunk_of(const void *p)
{
	return (struct mmu_chunk *)((uintptr_t)p & ~(CHUNK_SIZE - 1));
}

static struct mmu_page *chunk_page(struct mmu_chunk *chunk, unsigned int index)
{
	return (struct mmu_page *)((char *)chunk + HV_PAGE_SIZE +
				   (size_t)(index - CHUNK_FIRST) * CHUNK_META_BYTES);
}

struct mmu_page *mmu_page_of_pfn(hv_pfn_t pfn)
{
	return chunk_page(chunk_of((void *)(uintptr_t)(pfn << HV_PAGE_SHIFT)),
			  pfn & (MMU_ENTRIES - 1));
}

static struct mmu_chunk *chunk_map(void)
{
	char *p, *aligned;

	if (hv_fault_should_fail())
		return NULL;
	p = mmap(NULL, 2 * CHUNK_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	aligned = (char *)(((uintptr_t)p + CHUNK_SIZE - 1) & ~(CHUNK_SIZE - 1));
	if (aligned > p)
		munmap(p, (size_t)(aligned - p));
	munmap(aligned + CHUNK_SIZE, CHUNK_SIZE - (size_t)(aligned - p));
	return (struct mmu_chunk *)aligned;
}

/* A chain of all pages of a new chunk. */
static struct mmu_page *chunk_carve(struct mmu_chunk *chunk)
{
	struct mmu_page *chain = NULL;
	unsigned int i;

	for (i = MMU_ENTRIES; i-- > CHUNK_FIRST;) {
		struct mmu_page *sp = chunk_page(chunk, i);

		sp->spt = (uint64_t *)((char *)chunk + (size_t)i * HV_PAGE_SIZE);
		sp->next = chain;
		chain = sp;
	}
	chunk->nr_free = MMU_ENTRIES - CHUNK_FIRST;
	return chain;
}

void mmu_pool_init(struct mmu_pool *pool)
{
	*pool = (struct mmu_pool){ .nr_free = 0 };
	hv_spinlock_init(&pool->lock, HV_LC_LEAF);
	CDS_INIT_LIST_HEAD(&pool->chunks);
}

void mmu_pool_destroy(struct mmu_pool *pool)
{
	struct mmu_chunk *chunk, *tmp;

	HV_BUG_ON(atomic_load(&pool->nr_used) != 0);
	cds_list_for_each_entry_safe (chunk, tmp, &pool->chunks, link)
		munmap(chunk, CHUNK_SIZE);
	hv_spinlock_destroy(&pool->lock);
}

static int pool_grow(struct mmu_pool *pool)
{
	struct mmu_chunk *chunk = chunk_map();
	struct mmu_page *chain, *last;

	if (!chunk)
		return -ENOMEM;
	chain = chunk_carve(chunk);
	last = chunk_page(chunk, MMU_ENTRIES - 1);
	hv_spin_lock(&pool->lock);
	cds_list_add(&chunk->link, &pool->chunks);
	pool->nr_chunks++;
	pool->nr_free += chunk->nr_free;
	last->next = pool->free;
	pool->free = chain;
	hv_spin_unlock(&pool->lock);
	return 0;
}

int mmu_cache_fill(struct mmu_pool *pool, struct mmu_page_cache *cache, unsigned int want)
{
	if (hv_likely(cache->count >= want))
		return 0;
	for (;;) {
		unsigned int taken = 0;

		hv_spin_lock(&pool->lock);
		while (pool->free && cache->count < want + CACHE_BATCH) {
			struct mmu_page *sp = pool->free;

			pool->free = sp->next;
			pool->nr_free--;
			chunk_of(sp)->nr_free--;
			sp->next = cache->head;
			cache->head = sp;
			cache->count++;
			taken++;
		}
		hv_spin_unlock(&pool->lock);
		atomic_fetch_add_explicit(&pool->nr_used, taken, memory_order_relaxed);
		if (cache->count >= want)
			return 0;
		if (pool_grow(pool))
			return -ENOMEM;
	}
}

void mmu_cache_drain(struct mmu_pool *pool, struct mmu_page_cache *cache)
{
	struct mmu_page *chain = cache->head;

	cache->head = NULL;
	cache->count = 0;
	if (chain)
		mmu_pool_free(pool, chain);
}

struct mmu_page *mmu_cache_take(struct mmu_page_cache *cache)
{
	struct mmu_page *sp = cache->head;
	uint64_t *spt;

	HV_BUG_ON(!sp);
	cache->head = sp->next;
	cache->count--;
	spt = sp->spt;
	memset(sp, 0, sizeof(*sp));
	sp->spt = spt;
	CDS_INIT_LIST_HEAD(&sp->link);
	CDS_INIT_LIST_HEAD(&sp->hash);
	return sp;
}

void mmu_cache_return(struct mmu_page_cache *cache, struct mmu_page *sp)
{
	sp->next = cache->head;
	cache->head = sp;
	cache->count++;
}

/* Take all pages of a fully free chunk off the free list; one pass for all retired chunks. */
static void pool_unlist_retired(struct mmu_pool *pool)
{
	struct mmu_page **pp = &pool->free;

	while (*pp) {
		if (chunk_of(*pp)->retired) {
			*pp = (*pp)->next;
			pool->nr_free--;
		} else {
			pp = &(*pp)->next;
		}
	}
}

/* Give chunks back to the host, when many are free; the caller unmaps them. */
static void pool_shrink(struct mmu_pool *pool, struct cds_list_head *out)
{
	unsigned int per_chunk = MMU_ENTRIES - CHUNK_FIRST, full = 0;
	struct mmu_chunk *chunk, *tmp;

	/* The scan is linear: only when at least half of all pages are free. */
	if (pool->nr_free < (CHUNKS_SPARE + 2) * per_chunk ||
	    pool->nr_free < pool->nr_chunks * per_chunk / 2)
		return;
	cds_list_for_each_entry_safe (chunk, tmp, &pool->chunks, link) {
		if (chunk->nr_free != per_chunk || ++full <= CHUNKS_SPARE)
			continue;
		chunk->retired = true;
		pool->nr_chunks--;
		cds_list_move(&chunk->link, out);
	}
	if (!cds_list_empty(out))
		pool_unlist_retired(pool);
}

void mmu_pool_free(struct mmu_pool *pool, struct mmu_page *chain)
{
	struct mmu_chunk *chunk, *tmp;
	uint64_t n = 0;

	CDS_LIST_HEAD(unmap);

	hv_spin_lock(&pool->lock);
	while (chain) {
		struct mmu_page *sp = chain;

		chain = sp->next;
		sp->next = pool->free;
		pool->free = sp;
		chunk_of(sp)->nr_free++;
		n++;
	}
	pool->nr_free += n;
	pool_shrink(pool, &unmap);
	hv_spin_unlock(&pool->lock);
	atomic_fetch_sub_explicit(&pool->nr_used, n, memory_order_relaxed);
	cds_list_for_each_entry_safe (chunk, tmp, &unmap, link)
		munmap(chunk, CHUNK_SIZE);
}
