import matplotlib.pyplot as plt

import kronufft

sizes = [64, 96, 128, 192, 256, 320]
figure, (memory, time) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for coils in (8, 32):
    plans = [
        kronufft.estimate((n, n, n), coils=coils, samples=2 * n**3, device_mb=16_000) for n in sizes
    ]
    memory.plot(sizes, [plan.device_mb / 1000 for plan in plans], "o-", label=f"{coils} coils")
    time.plot(sizes, [plan.seconds for plan in plans], "o-", label=f"{coils} coils")
memory.axhline(16, color="black", linestyle=":", label="limit")
memory.set(xlabel="matrix N of N³", ylabel="device memory [GB]", ylim=(0, None))
time.set(xlabel="matrix N of N³", ylabel="predicted [s]", yscale="log")
memory.legend()
