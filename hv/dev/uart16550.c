/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A 16550A UART. National Semiconductor PC16550D data sheet.
 *
 * The line is infinitely fast: a byte written is sent at once, so THR is always
 * empty. Bytes go to the machine in batches: at a newline, when the buffer is
 * full, or UART_FLUSH_NS after the first of them. Bytes from outside wait in a
 * queue behind the receiver's FIFO, and a full queue is flow control.
 */
#include <errno.h>
#include <string.h>

#include "hv/dev/devices.h"

#define UART_FIFO_SIZE	16
#define UART_QUEUE_SIZE 4096U
#define UART_OUT_SIZE	512U
#define UART_FLUSH_NS	2000000ULL

enum { UART_THR_RBR, UART_IER, UART_IIR_FCR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCR };

#define IER_RDI	 0x01
#define IER_THRI 0x02
#define IER_RLSI 0x04
#define IER_MSI	 0x08

#define IIR_NONE    0x01
#define IIR_MSI	    0x00
#define IIR_THRI    0x02
#define IIR_RDI	    0x04
#define IIR_RLSI    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS   0xc0

#define FCR_ENABLE   0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_DMA	     0x08

#define LCR_BREAK 0x40
#define LCR_DLAB  0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR	 0x01
#define LSR_OE	 0x02
#define LSR_BI	 0x10
#define LSR_THRE 0x20
#define LSR_TEMT 0x40

#define MSR_CTS	  0x10
#define MSR_DSR	  0x20
#define MSR_RI	  0x40
#define MSR_DCD	  0x80
#define MSR_DELTA 0x0f

struct uart_state {
	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr;
	uint8_t thr_pending; /* THRE interrupt not yet seen */
	uint8_t dll, dlm;
	uint8_t fifo_len, padding;
	uint8_t fifo[UART_FIFO_SIZE];
};

struct uart {
	struct hv_device dev;
	struct uart_params_copy {
		uint16_t port;
		uint8_t irq;
	} params;		      /* [I] */
	struct uart_state s;	      /* device_lock */
	bool irq_level;		      /* device_lock: as last told to the chips */
	uint8_t queue[UART_QUEUE_SIZE]; /* device_lock: input behind the FIFO */
	unsigned int queue_head, queue_len;
	uint8_t out[UART_OUT_SIZE];   /* device_lock: output not passed on yet */
	unsigned int out_len;
	struct hv_mutex out_lock;     /* held while passing on, so that batches stay in order */
	struct hv_timer flush_timer;
};

static struct uart *uart_of(struct hv_device *dev)
{
	return container_of(dev, struct uart, dev);
}

/* ---- output ------------------------------------------------------------------------ */

/* Takes out_lock around device_lock: the callback runs without the latter. */
void uart16550_flush(struct hv_device *dev)
{
	struct uart *u = uart_of(dev);
	uint8_t batch[UART_OUT_SIZE];
	unsigned int len;

	hv_mutex_lock(&u->out_lock);
	hv_mutex_lock_nested(&dev->lock, 1);
	len = u->out_len;
	memcpy(batch, u->out, len);
	u->out_len = 0;
	hv_mutex_unlock(&dev->lock);
	if (len && dev->board->ops->console_output)
		dev->board->ops->console_output(dev->board->ctx, batch, len);
	hv_mutex_unlock(&u->out_lock);
}

static void uart_flush_timer(struct hv_timer *timer)
{
	uart16550_flush(&container_of(timer, struct uart, flush_timer)->dev);
}

/* True: the batch is to be passed on now. */
static bool uart_put_out(struct uart *u, uint8_t byte)
{
	/* Full while another thread passes the last batch on: cannot be, since full flushes. */
	if (u->out_len < UART_OUT_SIZE)
		u->out[u->out_len++] = byte;
	if (u->out_len == 1 && byte != '\n')
		hv_timer_arm(&u->flush_timer, hv_timer_now() + UART_FLUSH_NS);
	return byte == '\n' || u->out_len == UART_OUT_SIZE;
}

/* ---- interrupts ----------------------------------------------------------------------- */

static unsigned int uart_rx_trigger(const struct uart_state *s)
{
	static const uint8_t levels[4] = { 1, 4, 8, 14 };

	return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* The most urgent interrupt, in the order of the data sheet's table. */
static uint8_t uart_iir(const struct uart_state *s)
{
	if ((s->ier & IER_RLSI) && (s->lsr & (LSR_OE | LSR_BI)))
		return IIR_RLSI;
	if ((s->ier & IER_RDI) && s->fifo_len)
		/* Below the trigger level: nobody waits four characters' time here. */
		return s->fifo_len >= uart_rx_trigger(s) ? IIR_RDI : IIR_TIMEOUT;
	if ((s->ier & IER_THRI) && s->thr_pending)
		return IIR_THRI;
	if ((s->ier & IER_MSI) && (s->msr & MSR_DELTA))
		return IIR_MSI;
	return IIR_NONE;
}

static void uart_update_irq(struct uart *u)
{
	/* OUT2 gates the interrupt line on a PC; loop mode cuts it off from OUT2. */
	bool level = uart_iir(&u->s) != IIR_NONE && (u->s.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	if (level != u->irq_level) {
		u->irq_level = level;
		device_set_irq(&u->dev, u->params.irq, level);
	}
}

/* ---- input --------------------------------------------------------------------------------- */

static unsigned int uart_fifo_room(const struct uart_state *s)
{
	unsigned int size = s->fcr & FCR_ENABLE ? UART_FIFO_SIZE : 1;

	return size > s->fifo_len ? size - s->fifo_len : 0;
}

static void uart_fifo_put(struct uart_state *s, uint8_t byte)
{
	s->fifo[s->fifo_len++] = byte;
	s->lsr |= LSR_DR;
}

/* Move what waits into the receiver. */
static void uart_refill(struct uart *u)
{
	while (u->queue_len && uart_fifo_room(&u->s) && !(u->s.mcr & MCR_LOOP)) {
		uart_fifo_put(&u->s, u->queue[u->queue_head]);
		u->queue_head = (u->queue_head + 1) % UART_QUEUE_SIZE;
		u->queue_len--;
	}
}

size_t uart16550_input(struct hv_device *dev, const void *data, size_t len)
{
	struct uart *u = uart_of(dev);
	const uint8_t *bytes = data;
	size_t n = 0;

	hv_mutex_lock(&dev->lock);
	while (n < len && u->queue_len < UART_QUEUE_SIZE) {
		u->queue[(u->queue_head + u->queue_len) % UART_QUEUE_SIZE] = bytes[n++];
		u->queue_len++;
	}
	uart_refill(u);
	uart_update_irq(u);
	hv_mutex_unlock(&dev->lock);
	return n;
}

static uint8_t uart_read_rbr(struct uart *u)
{
	struct uart_state *s = &u->s;
	uint8_t byte;

	if (!s->fifo_len)
		return 0;
	byte = s->fifo[0];
	s->fifo_len--;
	memmove(s->fifo, s->fifo + 1, s->fifo_len);
	if (!s->fifo_len)
		s->lsr &= (uint8_t)~LSR_DR;
	uart_refill(u);
	return byte;
}

/* ---- registers ------------------------------------------------------------------------------ */

static uint8_t uart_modem_status(const struct uart_state *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	/* Loop mode: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD. */
	return (uint8_t)((s->mcr & MCR_DTR ? MSR_DSR : 0) | (s->mcr & MCR_RTS ? MSR_CTS : 0) |
			 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

/* Set the lines and note which of them changed; RI counts when it ends. */
static void uart_update_modem(struct uart_state *s)
{
	uint8_t old = s->msr & 0xf0, now = uart_modem_status(s), delta = (old ^ now) >> 4;

	if (!(old & ~now & MSR_RI))
		delta &= (uint8_t) ~(MSR_RI >> 4);
	s->msr = (uint8_t)(now | (s->msr & MSR_DELTA) | delta);
}

static void uart_write_fcr(struct uart *u, uint8_t value)
{
	struct uart_state *s = &u->s;

	/* Switching the FIFOs on or off empties them, as their clear bits do. */
	if (((value ^ s->fcr) & FCR_ENABLE) || (value & FCR_CLEAR_RX)) {
		s->fifo_len = 0;
		s->lsr &= (uint8_t)~LSR_DR;
	}
	s->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
	uart_refill(u);
}

static bool uart_write_thr(struct uart *u, uint8_t value)
{
	struct uart_state *s = &u->s;

	s->thr_pending = 1;
	if (!(s->mcr & MCR_LOOP))
		return uart_put_out(u, value);
	if (uart_fifo_room(s))
		uart_fifo_put(s, value);
	else
		s->lsr |= LSR_OE;
	return false;
}

static void uart_write_mcr(struct uart *u, uint8_t value)
{
	u->s.mcr = value & 0x1f;
	uart_update_modem(&u->s);
	uart_refill(u);
}

/* True: flush. */
static bool uart_write_reg(struct uart *u, unsigned int reg, uint8_t value)
{
	struct uart_state *s = &u->s;
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case UART_THR_RBR:
		if (!dlab)
			return uart_write_thr(u, value);
		s->dll = value;
		break;
	case UART_IER:
		if (dlab) {
			s->dlm = value;
			break;
		}
		/* Enabling the THRE interrupt with THR empty raises it. */
		if ((value & ~s->ier) & IER_THRI)
			s->thr_pending = 1;
		s->ier = value & 0x0f;
		break;
	case UART_IIR_FCR:
		uart_write_fcr(u, value);
		break;
	case UART_LCR:
		s->lcr = value;
		break;
	case UART_MCR:
		uart_write_mcr(u, value);
		break;
	case UART_SCR:
		s->scr = value;
		break;
	default: /* LSR is for factory test only, MSR is read-only here */
		break;
	}
	return false;
}

static uint8_t uart_read_iir(struct uart_state *s)
{
	uint8_t iir = uart_iir(s);

	/* Reading IIR is what takes a THRE interrupt back. */
	if (iir == IIR_THRI)
		s->thr_pending = 0;
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t uart_read_lsr(struct uart_state *s)
{
	uint8_t lsr = s->lsr | LSR_THRE | LSR_TEMT;

	s->lsr &= (uint8_t) ~(LSR_OE | LSR_BI);
	return lsr;
}

static uint8_t uart_read_msr(struct uart_state *s)
{
	uint8_t msr = s->msr;

	s->msr &= (uint8_t)~MSR_DELTA;
	return msr;
}

static uint8_t uart_read_reg(struct uart *u, unsigned int reg)
{
	struct uart_state *s = &u->s;
	bool dlab = s->lcr & LCR_DLAB;

	switch (reg) {
	case UART_THR_RBR:
		return dlab ? s->dll : uart_read_rbr(u);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR_FCR:
		return uart_read_iir(s);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return uart_read_lsr(s);
	case UART_MSR:
		return uart_read_msr(s);
	default:
		return s->scr;
	}
}

/* A wider access is one byte after the other, as the ISA bus splits it. */
static int uart_io_read(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			unsigned int len, void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct uart *u = uart_of(dev);
	unsigned int offset = (unsigned int)device_io_offset(io, addr), i;

	hv_mutex_lock(&dev->lock);
	for (i = 0; i < len; i++)
		((uint8_t *)data)[i] = offset + i < 8 ? uart_read_reg(u, offset + i) : 0xff;
	uart_update_irq(u);
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static int uart_io_write(struct hv_io_device *io, struct hv_vcpu *vcpu, uint64_t addr,
			 unsigned int len, const void *data)
{
	struct hv_device *dev = device_of_io(io);
	struct uart *u = uart_of(dev);
	unsigned int offset = (unsigned int)device_io_offset(io, addr), i;
	bool flush = false;

	hv_mutex_lock(&dev->lock);
	for (i = 0; i < len && offset + i < 8; i++)
		flush |= uart_write_reg(u, offset + i, ((const uint8_t *)data)[i]);
	uart_update_irq(u);
	hv_mutex_unlock(&dev->lock);
	if (flush)
		uart16550_flush(dev);
	return 0;
}

static const struct hv_io_device_ops uart_io_ops = {
	.read = uart_io_read,
	.write = uart_io_write,
};

/* ---- life ---------------------------------------------------------------------------------------- */

static void uart_reset(struct hv_device *dev)
{
	struct uart *u = uart_of(dev);

	hv_mutex_lock(&dev->lock);
	memset(&u->s, 0, sizeof(u->s));
	u->s.dll = 12; /* 9600 baud */
	u->s.msr = uart_modem_status(&u->s);
	u->queue_head = u->queue_len = 0;
	u->irq_level = false;
	hv_mutex_unlock(&dev->lock);
	uart16550_flush(dev);
}

static int uart_realize(struct hv_device *dev, const void *params)
{
	struct uart *u = uart_of(dev);
	const struct uart16550_params *p = params;
	int err;

	/* Outermost among device locks: it is the only one that the callback may run under. */
	hv_mutex_init(&u->out_lock, HV_LC_DEVICE);
	u->params.port = p->port;
	u->params.irq = p->irq;
	err = hv_timer_init(&u->flush_timer, irqchip_timers(dev->board->vm), uart_flush_timer);
	if (err)
		return err;
	return device_map(dev, HV_BUS_PIO, p->port, 8, &uart_io_ops);
}

static void uart_save(struct hv_device *dev, void *state)
{
	hv_mutex_lock(&dev->lock);
	memcpy(state, &uart_of(dev)->s, sizeof(struct uart_state));
	hv_mutex_unlock(&dev->lock);
}

static int uart_load(struct hv_device *dev, const void *state)
{
	struct uart *u = uart_of(dev);
	struct uart_state s;

	memcpy(&s, state, sizeof(s));
	if (s.fifo_len > UART_FIFO_SIZE || (s.ier & ~0x0f) || (s.mcr & ~0x1f) ||
	    s.thr_pending > 1)
		return -EINVAL;
	hv_mutex_lock(&dev->lock);
	u->s = s;
	/* The chips' lines were loaded before; tell them ours anew. */
	u->irq_level = false;
	uart_update_irq(u);
	hv_mutex_unlock(&dev->lock);
	return 0;
}

static void uart_destroy(struct hv_device *dev)
{
	struct uart *u = uart_of(dev);

	hv_timer_destroy(&u->flush_timer);
	uart16550_flush(dev);
	hv_mutex_destroy(&u->out_lock);
}

const struct hv_device_ops uart16550_device = {
	.name = "uart16550",
	.instance_size = sizeof(struct uart),
	.state_version = 1,
	.state_size = sizeof(struct uart_state),
	.realize = uart_realize,
	.reset = uart_reset,
	.save = uart_save,
	.load = uart_load,
	.destroy = uart_destroy,
};
