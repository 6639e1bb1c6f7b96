// SPDX-License-Identifier: GPL-2.0-only
/*
 * PTP hardware clocks with a rate of their own.
 *
 * Kernel: Documentation/driver-api/ptp.rst, include/linux/ptp_clock_kernel.h
 */
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/timekeeping.h>

#include "hwsim.h"

#define RATE_BITS	48
#define MAX_ADJ_PPB	100000000

/* 2^48 / 10^9, and 2^48 / (10^6 * 2^16): whole part, and what is left over the divisor */
static s64 rate_of_ppb(s64 ppb)
{
	return ppb * 281474 + div_s64(ppb * 976710656, 1000000000);
}

static s64 rate_of_scaled_ppm(s64 scaled_ppm)
{
	return scaled_ppm * 4294 + div_s64(scaled_ppm * 967296, 1000000);
}

/* Return what the clock shows at a raw time, also one a little past or ahead; below its lock. */
static s64 read_at(const struct hwsim_phc *phc, u64 raw_ns, u64 *fraction)
{
	s64 rate = rate_of_ppb(phc->error_ppb) + rate_of_scaled_ppm(phc->scaled_ppm);
	s64 elapsed = raw_ns - phc->raw_ns;
	__int128 gained = (__int128)elapsed * rate + phc->fraction;

	if (fraction)
		*fraction = (u64)gained & ((1ULL << RATE_BITS) - 1);
	return phc->ns + elapsed + (s64)(gained >> RATE_BITS);
}

/* Begin anew from here, because the rate is about to change; below the lock. */
static void rebase(struct hwsim_phc *phc)
{
	u64 raw_ns = ktime_get_raw_ns();
	u64 fraction;

	phc->ns = read_at(phc, raw_ns, &fraction);
	phc->fraction = fraction;
	phc->raw_ns = raw_ns;
}

s64 hwsim_phc_at(struct hwsim_phc *phc, u64 raw_ns)
{
	unsigned long flags;
	s64 ns;

	spin_lock_irqsave(&phc->lock, flags);
	ns = read_at(phc, raw_ns, NULL);
	spin_unlock_irqrestore(&phc->lock, flags);
	return ns;
}

void hwsim_phc_set_error(struct hwsim_phc *phc, s64 error_ppb)
{
	unsigned long flags;

	spin_lock_irqsave(&phc->lock, flags);
	rebase(phc);
	phc->error_ppb = clamp_t(s64, error_ppb, -MAX_ADJ_PPB, MAX_ADJ_PPB);
	spin_unlock_irqrestore(&phc->lock, flags);
}

static int adjust_rate(struct ptp_clock_info *info, long scaled_ppm)
{
	struct hwsim_phc *phc = container_of(info, struct hwsim_phc, info);
	unsigned long flags;

	spin_lock_irqsave(&phc->lock, flags);
	rebase(phc);
	phc->scaled_ppm = scaled_ppm;
	spin_unlock_irqrestore(&phc->lock, flags);
	return 0;
}

static int adjust_time(struct ptp_clock_info *info, s64 delta_ns)
{
	struct hwsim_phc *phc = container_of(info, struct hwsim_phc, info);
	unsigned long flags;

	spin_lock_irqsave(&phc->lock, flags);
	phc->ns += delta_ns;
	spin_unlock_irqrestore(&phc->lock, flags);
	return 0;
}

static int set_time(struct ptp_clock_info *info, const struct timespec64 *ts)
{
	struct hwsim_phc *phc = container_of(info, struct hwsim_phc, info);
	unsigned long flags;

	spin_lock_irqsave(&phc->lock, flags);
	phc->raw_ns = ktime_get_raw_ns();
	phc->ns = timespec64_to_ns(ts);
	phc->fraction = 0;
	spin_unlock_irqrestore(&phc->lock, flags);
	return 0;
}

static int get_time(struct ptp_clock_info *info, struct timespec64 *ts,
		    struct ptp_system_timestamp *sts)
{
	struct hwsim_phc *phc = container_of(info, struct hwsim_phc, info);
	unsigned long flags;

	spin_lock_irqsave(&phc->lock, flags);
	ptp_read_system_prets(sts);
	*ts = ns_to_timespec64(read_at(phc, ktime_get_raw_ns(), NULL));
	ptp_read_system_postts(sts);
	spin_unlock_irqrestore(&phc->lock, flags);
	return 0;
}

void hwsim_phc_init(struct hwsim_phc *phc, int number, s64 error_ppb)
{
	phc->number = number;
	phc->error_ppb = clamp_t(s64, error_ppb, -MAX_ADJ_PPB, MAX_ADJ_PPB);
	spin_lock_init(&phc->lock);
}

/* Register the clock with the first port that uses it, as if that function had just been reset. */
int hwsim_phc_get(struct hwsim_phc *phc, struct device *parent)
{
	struct ptp_clock *clock;

	if (phc->users++)
		return 0;
	phc->info = (struct ptp_clock_info){
		.owner = THIS_MODULE,
		.max_adj = MAX_ADJ_PPB,
		.adjfine = adjust_rate,
		.adjtime = adjust_time,
		.gettimex64 = get_time,
		.settime64 = set_time,
	};
	snprintf(phc->info.name, sizeof(phc->info.name), "hwsim%d", phc->number);
	phc->scaled_ppm = 0;
	phc->fraction = 0;
	phc->raw_ns = ktime_get_raw_ns();
	phc->ns = ktime_get_real_ns();
	clock = ptp_clock_register(&phc->info, parent);
	if (IS_ERR_OR_NULL(clock)) {
		phc->users--;
		return clock ? PTR_ERR(clock) : -EOPNOTSUPP;
	}
	phc->clock = clock;
	return 0;
}

void hwsim_phc_put(struct hwsim_phc *phc)
{
	if (--phc->users)
		return;
	ptp_clock_unregister(phc->clock);
	phc->clock = NULL;
}
