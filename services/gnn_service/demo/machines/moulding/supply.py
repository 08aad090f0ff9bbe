"""Servo pumps and their drives: the speed that flow and leakage take, torque, current, losses."""

import numpy as np

from gnn_service.demo.machines.moulding.work import Work
from gnn_service.physics import drives, pumps

TURN = 2.0 * np.pi


def drive(work: Work) -> None:
    """Both pumps turn alike: the leader's speed is the follower's set point; a pump that is off stands still."""
    p, s, f = work.p, work.s, work.f
    leaks, swept = [], np.zeros(work.size)
    for pump in (1, 2):
        name, on = f"servo_pump_{pump}", f[f"on_{pump}"]
        leaks.append(on * pumps.leakage_flow(p[f"{name}.leakage"], f["pressure"], s["thinning"]))
        swept = swept + on * p[f"{name}.displacement"]
    speed = (f["flow"] + leaks[0] + leaks[1]) / swept
    f["electric"] = np.zeros(work.size)
    f["inverters"] = np.zeros(work.size)
    for pump, leak in zip((1, 2), leaks, strict=True):
        _drive_one(work, pump, np.minimum(speed, p[f"servo_pump_{pump}.speed_max"]), leak)


def _drive_one(work: Work, pump: int, speed: np.ndarray, leak: np.ndarray) -> None:
    p, s, f = work.p, work.s, work.f
    name, on, used = f"servo_pump_{pump}", f[f"on_{pump}"], f["used"]
    swept, pressure = p[f"{name}.displacement"], f["pressure"]
    speed = on * speed
    turning = on * np.minimum(speed, 1.0)  # friction of rest is held by the brake of the control
    drag = swept * p[f"{name}.friction_pressure"] * pressure / TURN + pumps.loss_torque(
        swept, speed, viscosity=s["viscosity"], drag=p[f"{name}.friction_viscous"], idle=p[f"{name}.friction_dry"]
    )
    drag = drag * turning
    torque = on * swept * pressure / TURN + drag
    omega = TURN * speed
    current = drives.current_for(torque, drives.torque_constant(p[f"{name}.torque_constant"], s[f"housing_{pump}"]))
    resistance = drives.winding_resistance(p[f"{name}.winding_resistance"], s[f"winding_{pump}"])
    copper = drives.copper_loss(resistance, current)
    iron = drives.iron_loss(omega, p[f"{name}.iron_hysteresis"], p[f"{name}.iron_eddy"])
    into_motor = torque * omega + copper + iron
    inverter = drives.inverter_loss(
        into_motor,
        current,
        idle=p["drive_supply.idle_loss"],
        switching=p["drive_supply.switching_loss"],
        drop=p["drive_supply.conduction_drop"],
    )
    f[f"n_{pump}"], f[f"torque_{pump}"], f[f"current_{pump}"] = speed, torque, current
    f[f"copper_{pump}"], f[f"iron_{pump}"] = copper * used, iron * used
    f[f"drag_{pump}"], f[f"leakage_{pump}"] = drag * omega * used, leak * pressure * used
    f["inverters"] = f["inverters"] + inverter * used
    f["electric"] = f["electric"] + (into_motor + inverter) * used
