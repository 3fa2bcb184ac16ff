/* The C interface of a compiled cell. The compiler reads it, and so does cffi, without the lines that begin with '#'.

   A library is compiled from the Programs of one step, in one type of number (float or double). Its products are in
   that type or rounded (tf32, bf16); its sums and everything else are not rounded. It holds three functions over a
   sequence: the forward that saves what the backward needs, the forward that saves nothing, and the backward. A
   function is a list of stages, each a few matrix products and then the cell's pointwise work on them.

   Dimensions: T time, N rows of the batch; the units of a stage are H, or the P units of a projected h. Every array
   lies in the device's memory and is contiguous along the units. It belongs to the caller, who keeps it until the
   stream has passed the call. */
#pragma once
#include <stdint.h>

/* An input or output of a Program in memory. The value of row n and unit u at time t is the number
       data[((t + shift) & wrap) * step + n * row + u] */
typedef struct {
    void *data;    /* the first number: float or double; weights as rnn_store writes them */
    int64_t step;  /* numbers from one time to the next; 0: the same at all times */
    int32_t row;   /* numbers from one row to the next; 0: the same for all rows */
    int16_t shift; /* added to the time */
    int16_t wrap;  /* -1: every time has its slot; 1: two slots are used in turn */
} rnn_operand;

typedef struct {
    int32_t units;   /* units of each row */
    int32_t weights; /* where the stage's resident weights begin in shared memory, in bytes */
} rnn_stage;

/* A source: the vectors, one of each row, that products multiply with weights. One stage writes it, and another one
   of the same step or of the next step reads it. Its array is [2, N, row]: two slots in turn, the rows in falling
   order of length. Before a scan begins, the slot that its first step reads (k % 2 of step k forward, (k + 1) % 2
   backward) holds the initial vectors. Read and written. */
typedef struct {
    void *data;     /* numbers as the product tile stores them, with zeros past the end of a vector */
    int64_t step;   /* numbers from one slot to the other */
    int32_t row;    /* numbers from one row to the next: whole vectors */
    int32_t offset; /* where the source stays in shared memory, too, in bytes, if rnn_work.source_rows is not 0 */
} rnn_source;

/* The most sequences that one launch runs: see rnn_work. */
enum { RNN_MOST_SEQUENCES = 4 };

/* The sequences of a launch, and how blocks share the work.

   A launch runs one sequence or several at once: the two directions of a layer, or some layers of a stack. Each has
   weights, inputs and outputs of its own, of the same sizes and lengths, and none depends on another's. The rest of
   this comment holds for each of them. A launch runs the steps `begin` to `end` - 1 of the scan; a backward begins at
   the last of them. A scan may take several launches, one after the other.

   Rows: groups of blocks share them, group_rows to each, and every group scans through time by itself.
   Units: the blocks of a group share the units of a stage in tiles of 1 << tile_bits; tile j belongs to the block of
   rank j % group_size. A block goes through its rows in passes. If the product tile leaves a choice, a pass has
   (1 << row_bits) times as many rows as a thread. A block goes through its tiles in sets of 1 << tile_set_bits: it
   multiplies the tiles of a set one after the other, and then does the pointwise work of all of them at once. A set
   has several tiles only if sources stay in shared memory.
   Barrier: the blocks of a group wait for each other before each stage that multiplies other blocks' results. */
typedef struct {
    int32_t steps;                     /* T */
    int32_t rows;                      /* N */
    int32_t sequences;                 /* how many run at once */
    int32_t reverse;                   /* a bit for each sequence, the first the lowest. 1: scan from the last step */
    int32_t begin[RNN_MOST_SEQUENCES]; /* the first step of each sequence */
    int32_t end[RNN_MOST_SEQUENCES];   /* the step after its last one */
    const int32_t *order;              /* [N] read: the rows by falling length; NULL: as they are */
    const int32_t *lengths;            /* [N] read: their lengths in that order, 0 to T; NULL: all T */
    uint32_t *arrived;                 /* [groups, sequences, 32] scratch: the first of 32 counts a group's arrivals */
    int32_t group_rows;                /* rows of a group of blocks */
    int32_t group_size;                /* blocks of a group */
    int32_t tile_bits;                 /* log2 of the units of a tile */
    int32_t row_bits;                  /* see above */
    int32_t tile_set_bits;             /* log2 of the tiles of a set */
    int32_t resident;                  /* 1: each block holds the weights of its tiles in shared memory for all steps;
                                          0: parts of them come to the beginning of shared memory in every step */
    int32_t cluster;                   /* 1: a group is a cluster: its blocks write to each other's shared memory */
    int32_t source_rows;               /* rows of each slot of the sources that stay in shared memory; 0: sources come
                                          to shared memory in parts */
    int32_t depth;                     /* numbers of a source's row in a part */
    int32_t source;                    /* where parts of sources begin in shared memory, in bytes */
    int32_t sums;                      /* where the sums begin in shared memory, in bytes */
} rnn_work;

typedef struct {
    int32_t blocks;      /* how many blocks are sure to run at once */
    int32_t shared;      /* bytes of shared memory for each block */
    int32_t clusters[3]; /* how many clusters of 2, 4 and 8 such blocks run side by side */
} rnn_device;

/* Write the facts of a device. Return 0, or another number if a call failed: see rnn_error. */
int rnn_facts(int device, rnn_device *facts);

/* Launch a function over sequences on a stream of a device, and do not wait for its end. Return as rnn_facts does.

   function: 0 train, 1 infer, 2 backward. tile: 0 for few rows at a time, 1 for many (see emit.py). sources: for each
   sequence in turn, those of the function, in order. operands: for each sequence in turn, and for each stage in turn:
   for each of its products the weights of each of its results ([units, row], read, as rnn_store puts them); then the
   Program's inputs, read, and outputs, written. source_count, operand_count: of all sequences together. shared: bytes
   for each block. An input and an output may share an operand, because one thread reads it and then writes it. */
int rnn_scan(int device, void *stream, int function, int tile, const rnn_work *work,
             const rnn_stage *stages, int stage_count, const rnn_source *sources, int source_count,
             const rnn_operand *operands, int operand_count, int shared);

/* Write a matrix `from` [rows, width] into `to` [rows, row], where products read it: rounded as this library's factors
   are, with zeros past the end of a row. row: `width` rounded up to whole vectors. */
int rnn_store(int device, void *stream, const void *from, int64_t rows, int width, void *to, int row);

/* Have `blocks` blocks wait for each other `count` times and do nothing else, to measure a barrier. arrived: as in
   rnn_work. */
int rnn_barriers(int device, void *stream, int blocks, int count, uint32_t *arrived);

/* Return the name of the call that failed last on this thread, and CUDA's reason. */
const char *rnn_error(void);
