// SPDX-License-Identifier: GPL-2.0-only
/*
 * A PCI domain whose functions are the ports.
 *
 * The PCI core reads their identity from a configuration space that we make up, and from then on
 * they are real to it: sysfs has vendor, device, subsystem and driver, a write to `remove` unplugs
 * one, and a write to /sys/bus/pci/rescan brings it back. They have no memory and no interrupts.
 *
 * Kernel: Documentation/PCI/pci.rst, drivers/pci/probe.c
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <asm/pci.h>

#include "hwsim.h"

#define DOMAIN		1
#define BUS_NUMBER	0

static struct pci_sysdata sysdata = { .domain = DOMAIN, .node = NUMA_NO_NODE };
static struct pci_bus *root_bus;
static struct resource bus_numbers = {
	.name = "hwsim",
	.start = BUS_NUMBER,
	.end = BUS_NUMBER,
	.flags = IORESOURCE_BUS,
};
static struct pci_driver drivers[HWSIM_PORTS];
static int driver_count;

static struct hwsim_port *port_at(unsigned int devfn)
{
	int i;

	for (i = 0; i < hwsim_port_count; i++)
		if (hwsim_ports[i].devfn == devfn)
			return &hwsim_ports[i];
	return NULL;
}

static bool has_siblings(const struct hwsim_port *port)
{
	int i;

	for (i = 0; i < hwsim_port_count; i++)
		if (PCI_SLOT(hwsim_ports[i].devfn) == PCI_SLOT(port->devfn) &&
		    hwsim_ports[i].devfn != port->devfn)
			return true;
	return false;
}

/* Return 32 bits of configuration space (PCI Local Bus 3.0, chapter 6). */
static u32 config_word(const struct hwsim_port *port, int where)
{
	switch (where) {
	case PCI_VENDOR_ID:
		return port->device << 16 | port->vendor;
	case PCI_CLASS_REVISION:
		return PCI_CLASS_NETWORK_ETHERNET << 16 | 1;
	case PCI_CACHE_LINE_SIZE:	/* with header type in its third byte */
		return has_siblings(port) ? PCI_HEADER_TYPE_MFD << 16 : 0;
	case PCI_SUBSYSTEM_VENDOR_ID:
		return port->subsystem_device << 16 | port->subsystem_vendor;
	default:
		return 0;
	}
}

static int config_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *value)
{
	const struct hwsim_port *port = bus->number == BUS_NUMBER ? port_at(devfn) : NULL;

	if (!port) {
		PCI_SET_ERROR_RESPONSE(value);
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	*value = config_word(port, where & ~3) >> (where & 3) * 8;
	if (size < 4)
		*value &= (1U << size * 8) - 1;
	return PCIBIOS_SUCCESSFUL;
}

static int config_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 value)
{
	return PCIBIOS_SUCCESSFUL;	/* nothing there can be changed */
}

static struct pci_ops config_ops = { .read = config_read, .write = config_write };

/* --- physical and virtual functions --------------------------------------------------------- */

/*
 * A real virtual function needs a SR-IOV capability with memory behind it. What a reader of sysfs
 * goes by is the links between the two and how many there are, so those are made here.
 */
static ssize_t sriov_totalvfs_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	struct hwsim_port *port = port_at(to_pci_dev(dev)->devfn);
	int i, count = 0;

	for (i = 0; i < hwsim_port_count; i++)
		count += hwsim_ports[i].vf_of == port->number;
	return sysfs_emit(to, "%d\n", count);
}
static DEVICE_ATTR_RO(sriov_totalvfs);

static ssize_t sriov_numvfs_show(struct device *dev, struct device_attribute *attribute, char *to)
{
	struct hwsim_port *port = port_at(to_pci_dev(dev)->devfn);
	int i, count = 0;

	for (i = 0; i < hwsim_port_count; i++)
		count += hwsim_ports[i].vf_of == port->number && hwsim_ports[i].pdev;
	return sysfs_emit(to, "%d\n", count);
}
static DEVICE_ATTR_RO(sriov_numvfs);

static bool has_functions(const struct hwsim_port *port)
{
	int i;

	for (i = 0; i < hwsim_port_count; i++)
		if (hwsim_ports[i].vf_of == port->number)
			return true;
	return false;
}

/* Return the number of a virtual function among those of its physical one. */
static int vf_number(const struct hwsim_port *vf)
{
	int i, number = 0;

	for (i = 0; i < vf->number; i++)
		number += hwsim_ports[i].vf_of == vf->vf_of;
	return number;
}

static void link_function(struct hwsim_port *vf, bool wanted)
{
	struct hwsim_port *pf = &hwsim_ports[vf->vf_of];
	char name[16];

	if (!pf->pdev || !vf->pdev)
		return;
	snprintf(name, sizeof(name), "virtfn%d", vf_number(vf));
	if (!wanted) {
		sysfs_remove_link(&vf->pdev->dev.kobj, "physfn");
		sysfs_remove_link(&pf->pdev->dev.kobj, name);
	} else if (sysfs_create_link(&vf->pdev->dev.kobj, &pf->pdev->dev.kobj, "physfn") ||
		   sysfs_create_link(&pf->pdev->dev.kobj, &vf->pdev->dev.kobj, name)) {
		dev_warn(&vf->pdev->dev, "hwsim: no link to its physical function\n");
	}
}

static void link_functions(struct hwsim_port *port, bool wanted)
{
	int i;

	if (port->vf_of >= 0)
		link_function(port, wanted);
	for (i = 0; i < hwsim_port_count; i++)
		if (hwsim_ports[i].vf_of == port->number)
			link_function(&hwsim_ports[i], wanted);
	if (!has_functions(port))
		return;
	if (!wanted) {
		device_remove_file(&port->pdev->dev, &dev_attr_sriov_numvfs);
		device_remove_file(&port->pdev->dev, &dev_attr_sriov_totalvfs);
	} else if (device_create_file(&port->pdev->dev, &dev_attr_sriov_numvfs) ||
		   device_create_file(&port->pdev->dev, &dev_attr_sriov_totalvfs)) {
		dev_warn(&port->pdev->dev, "hwsim: no sriov files\n");
	}
}

/* --- drivers --------------------------------------------------------------------------------- */

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct hwsim_port *port = pdev->bus == root_bus ? port_at(pdev->devfn) : NULL;
	int error;

	if (!port || strcmp(port->driver, pdev->dev.driver->name))
		return -ENODEV;
	error = hwsim_port_plug(port, pdev);
	if (error)
		return error;
	port->pdev = pdev;
	pci_set_drvdata(pdev, port);
	link_functions(port, true);
	return 0;
}

static void take_out(struct pci_dev *pdev)
{
	struct hwsim_port *port = pci_get_drvdata(pdev);

	link_functions(port, false);
	hwsim_port_unplug(port);
	port->pdev = NULL;
}

/* Any device: which ones are ours is the bus they are on, and no module is to be loaded for them. */
static const struct pci_device_id any_device[] = { { PCI_DEVICE(PCI_ANY_ID, PCI_ANY_ID) }, {} };

static bool is_registered(const char *name)
{
	int i;

	for (i = 0; i < driver_count; i++)
		if (!strcmp(drivers[i].name, name))
			return true;
	return false;
}

static int register_drivers(void)
{
	int i, error;

	for (i = 0; i < hwsim_port_count; i++) {
		if (is_registered(hwsim_ports[i].driver))
			continue;
		drivers[driver_count] = (struct pci_driver){
			.name = hwsim_ports[i].driver,
			.id_table = any_device,
			.probe = probe,
			.remove = take_out,
		};
		error = pci_register_driver(&drivers[driver_count]);
		if (error)
			return error;
		driver_count++;
	}
	return 0;
}

static void unregister_drivers(void)
{
	while (driver_count)
		pci_unregister_driver(&drivers[--driver_count]);
}

/* --- the bus --------------------------------------------------------------------------------- */

int hwsim_pci_start(void)
{
	LIST_HEAD(resources);
	int error;

	pci_lock_rescan_remove();
	pci_add_resource(&resources, &bus_numbers);
	root_bus = pci_create_root_bus(NULL, BUS_NUMBER, &config_ops, &sysdata, &resources);
	if (!root_bus) {
		pci_free_resource_list(&resources);
		pci_unlock_rescan_remove();
		return -ENODEV;
	}
	pci_scan_child_bus(root_bus);
	pci_bus_add_devices(root_bus);
	pci_unlock_rescan_remove();

	error = register_drivers();
	if (error)
		hwsim_pci_stop();
	return error;
}

void hwsim_pci_stop(void)
{
	unregister_drivers();
	pci_lock_rescan_remove();
	pci_stop_root_bus(root_bus);
	pci_remove_root_bus(root_bus);
	pci_unlock_rescan_remove();
	root_bus = NULL;
}
