/* The C interface of a compiled cell: read by the compiler, and by cffi, which leaves out the lines with '#'.

   A library is compiled from the Programs of one step, in one type of number (float or double), its products in that or
   rounded (tf32, bf16), its sums and all else not. It holds three
   functions over a sequence: the forward that keeps what the backward wants, the forward that keeps nothing, and the
   backward. A function is a list of stages, each a few matrix products and then the cell's pointwise work on them.

   Dimensions: T time, N rows of the batch; the units of a stage are H, or the width of a projected h. Every array lies
   in the device's memory, is contiguous along the units, and belongs to the caller, who keeps it until the stream has
   gone past the call. */
#pragma once
#include <stdint.h>

/* Where a value of a step lies: that of row n and unit u at time t is the number
       data[((t + shift) & wrap) * step + n * row + u]
   wrap -1 takes the time as it is, 1 takes two places in turn; step 0 and row 0 stand for what does not change. */
typedef struct {
    void *data;
    int64_t step;
    int32_t row;
    int16_t shift, wrap;
} rnn_spot;

/* A stage. units: how many each row has. weights: where its resident weights begin in shared memory, in bytes. */
typedef struct {
    int32_t units, weights;
} rnn_stage;

/* What products multiply weights with: of each row a vector, put together by one stage and read by another, of the
   same step or of the next, for which there are two places in turn. It is [2, N, row] numbers as the product tile
   stores them, rows in falling order of length, each of whole vectors, with zeros past its end. The place that step k
   reads of what the step before it passed on, k % 2 forward and (k + 1) % 2 backward, holds the start of the walk when
   it begins. step: numbers from one place to the other. kept: where it stays in shared memory too, if it does, in
   bytes. */
typedef struct {
    void *data;
    int64_t step;
    int32_t row, kept;
} rnn_source;

/* The most ways that one run takes: see rnn_work. */
enum { RNN_MOST_WAYS = 4 };

/* What is run over, and how the work is shared out.

   A run has one way or several at once, as a layer has of two directions, or a stack of its layers: each with weights,
   inputs and outputs of its own, of the same sizes and lengths, none of which depends on another's. What follows holds
   for each way. It goes through the steps `begin` to `end` - 1 of its walk, the backward from the last of them: a walk
   may take several runs, one after the other.

   The rows fall to teams of blocks, team_rows to each, and every team walks through time by itself. The units of a
   stage fall to the team's members in tiles of 1 << tile_bits, tile j to member j % members; a member goes through the
   rows in passes, of 1 << row_bits times as many as a thread has, where the product tile leaves a choice, and through
   its tiles in groups of 1 << group_bits, which are multiplied one after the other and then have their pointwise work
   at once; only where sources are kept is there more than one in a group. After each stage that another's product reads, the members meet. resident: each member keeps the weights of its tiles in shared
   memory for all steps; if not, they come through it in every step, from where it begins. kept_rows: rows that it has
   room for in each place of the sources, where members keep those of their team as well; or 0, and they come through
   it, `depth` numbers of a row at a time. cluster: whether a team is a cluster, whose members write to each other's
   shared memory and meet by a barrier of their own. source and sums: where what comes and the sums begin in shared
   memory, in bytes. */
typedef struct {
    int32_t steps, rows;      /* T, N */
    int32_t ways, reverse;    /* how many; of each a bit, the first the lowest: from a sequence's last step on */
    int32_t begin[RNN_MOST_WAYS], end[RNN_MOST_WAYS];
    const int32_t *order;     /* [N] the rows by falling length; NULL: as they are */
    const int32_t *lengths;   /* [N] their lengths in that order, 0 to T; NULL: all T */
    uint32_t *arrived;        /* [teams, ways, 32] scratch: the first of each 32 counts a team's arrivals */
    int32_t team_rows, members, tile_bits, row_bits, group_bits, resident, cluster, kept_rows, depth, source, sums;
} rnn_work;

/* What a device has: blocks that run at once for certain, bytes of shared memory for each, and how many clusters of 2, 4
   and 8 such blocks run side by side. */
typedef struct {
    int32_t blocks, shared, clusters[3];
} rnn_device;

/* Facts of a device, by its number. Returns 0, or another number where a call failed: see rnn_error. */
int rnn_facts(int device, rnn_device *facts);

/* Run a function over a sequence, on a stream of a device; returns before it is done. 0, or as above.

   function: 0 train, 1 infer, 2 backward. tile: 0 for few rows at a time, 1 for many (see emit.py). sources: for each
   way in turn, those of the function, in order. spots: for each way in turn, and for each stage in turn: for each of
   its products the weights of each of its results ([units, row], read, as rnn_store puts them); then the Program's
   inputs, read, and outputs, written. The counts are of all ways. shared: bytes for each block. An input and an output
   may share a spot, as each is touched by one thread, which reads before it writes. */
int rnn_walk(int device, void *stream, int function, int tile, const rnn_work *work,
             const rnn_stage *stages, int stage_count, const rnn_source *sources, int source_count,
             const rnn_spot *spots, int spot_count, int shared);

/* Put a matrix [rows, width] where products read it: to [rows, row], rounded as this library's are, with zeros past the
   end of a row; row: `width` in whole vectors. */
int rnn_store(int device, void *stream, const void *from, int64_t rows, int width, void *to, int row);

/* Let so many blocks meet `count` times and do nothing else: what a meeting costs. arrived: as in rnn_work. */
int rnn_meetings(int device, void *stream, int blocks, int count, uint32_t *arrived);

/* The call that failed last on this thread, and what CUDA says of it. */
const char *rnn_error(void);
