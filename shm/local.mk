noinst_LIBRARIES += shm/libshm.a
shm_libshm_a_SOURCES = shm/region.c shm/region.h shm/region-private.h shm/lane.c shm/lane.h \
	shm/slot.c shm/slot.h shm/stat.c shm/stat.h shm/stat.def
EXTRA_DIST += shm/README
